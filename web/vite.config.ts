import { env } from "node:process";
import { defineConfig } from "vitest/config";

const server = env.TSR_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    outDir: "../tensors/page",
    emptyOutDir: true,
    // The server's Content-Security-Policy allows files only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/api": {
        target: server,
        changeOrigin: true,
        // The server refuses pages of other origins, and the page being developed is one.
        configure: (proxy) => proxy.on("proxyReq", (request) => request.removeHeader("origin")),
      },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
