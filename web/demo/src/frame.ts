// Pictures taken from what is shown, as files.

/** What a video or an image shows now. */
export async function frameOf(source: HTMLVideoElement | HTMLImageElement): Promise<File> {
  const isVideo = source instanceof HTMLVideoElement;
  const [width, height] = isVideo ? [source.videoWidth, source.videoHeight] : [source.naturalWidth, source.naturalHeight];
  return drawn(source, width, height, 0.92);
}

const THUMBNAIL_WIDTH = 280;

/** A small copy for the gallery: a photo of a phone takes 50 MB as pixels. */
export async function thumbnailOf(file: Blob): Promise<File> {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, THUMBNAIL_WIDTH / bitmap.width);
  const thumbnail = drawn(bitmap, Math.max(1, Math.round(scale * bitmap.width)), Math.max(1, Math.round(scale * bitmap.height)), 0.8);
  bitmap.close();
  return thumbnail;
}

/** Drawn at once, so that it is the picture of this moment; packed later. */
async function drawn(source: CanvasImageSource, width: number, height: number, quality: number): Promise<File> {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  canvas.getContext('2d')?.drawImage(source, 0, 0, width, height);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/jpeg', quality));
  if (!blob) throw new Error(`No picture of ${width} x ${height} pixels`);
  return new File([blob], 'bitmar.jpg', { type: blob.type });
}
