/** Sizes that suit a model: other shapes of the same area. */

export const SHAPES = ["1:1", "4:3", "3:2", "16:9", "3:4", "2:3", "9:16"] as const;
export type Shape = (typeof SHAPES)[number];

const MIN = 64;
const MAX = 4096;

/** Sides must be multiples of 8; models are trained on multiples of 64, which fit all of them. */
export function sized(shape: Shape, area: number): { width: number; height: number } {
  const [across = 1, down = 1] = shape.split(":").map(Number);
  const step = area >= 512 * 512 ? 64 : 8;
  return {
    width: snapped(Math.sqrt((area * across) / down), step),
    height: snapped(Math.sqrt((area * down) / across), step),
  };
}

export function snapped(side: number, step = 8): number {
  return Math.min(MAX, Math.max(MIN, Math.round(side / step) * step));
}
