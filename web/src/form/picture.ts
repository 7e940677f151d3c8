/** Picture files that somebody gives us. */

const TYPES = ["image/png", "image/jpeg", "image/webp"];

export const ACCEPTED = TYPES.join(",");

export const isPicture = (file: Blob) => TYPES.includes(file.type);

export function pictureOf(transfer: DataTransfer | null): globalThis.File | null {
  return [...(transfer?.files ?? [])].find(isPicture) ?? null;
}

export async function base64Of(picture: Blob): Promise<string> {
  const url = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("the file cannot be read"));
    reader.readAsDataURL(picture);
  });
  return url.slice(url.indexOf(",") + 1);
}

/** The type of a picture by its first bytes in base64. */
export function dataUrl(base64: string): string {
  const type = base64.startsWith("/9j/") ? "jpeg" : base64.startsWith("UklGR") ? "webp" : "png";
  return `data:image/${type};base64,${base64}`;
}
