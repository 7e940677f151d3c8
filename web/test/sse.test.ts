import { expect, test } from "vitest";
import { SseParser } from "../src/api/sse";

const STREAM =
  ': \n\nevent: job\ndata: {"a":1}\n\n: still here\n\nevent: image\ndata: one\ndata: two\n\ndata: bare\n\n';
const EVENTS = [
  { event: "job", data: '{"a":1}' },
  { event: "image", data: "one\ntwo" },
  { event: "message", data: "bare" },
];

test.each([1, 2, 3, 7, 1000])("events are whole wherever the stream is cut (pieces of %i)", (size) => {
  const parser = new SseParser();
  const pieces = STREAM.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
  expect(pieces.flatMap((piece) => parser.push(piece))).toEqual(EVENTS);
});

test("lines may end as on Windows", () => {
  expect(new SseParser().push("event: job\r\ndata: x\r\n\r\n")).toEqual([{ event: "job", data: "x" }]);
});

test("heartbeats are no events, and half an event is none yet", () => {
  const parser = new SseParser();
  expect(parser.push(": still here\n\nevent: job\ndata: x\n")).toEqual([]);
  expect(parser.push("\n")).toEqual([{ event: "job", data: "x" }]);
});
