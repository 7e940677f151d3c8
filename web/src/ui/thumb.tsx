import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { images } from "../api/api";
import { blur } from "../state/preferences";

interface ThumbProps {
  id: string;
  alt: string;
  mature: boolean;
  /** CSS width it is shown at, in pixels. */
  width: number;
}

export function Thumb({ id, alt, mature, width }: ThumbProps) {
  const [state, setState] = useState<"loading" | "there" | "broken">("loading");
  const element = useRef<HTMLImageElement>(null);
  useLayoutEffect(() => {
    const image = element.current;
    // Whoever scrolls on does not wait for what was passed by; Chromium keeps the element until it is loaded.
    return () => {
      if (image && !image.complete) image.src = "";
    };
  }, []);
  return (
    <img
      ref={element}
      class={`thumb ${state} ${mature && blur.value ? "blurred" : ""}`}
      alt={alt}
      decoding="async"
      draggable={false}
      src={images.thumbnail(id, width * Math.min(devicePixelRatio, 2) > 300 ? 512 : 256)}
      onLoad={() => setState("there")}
      onError={() => setState("broken")}
    />
  );
}
