/** Photos from files: chosen, taken with the phone's own camera app, dropped or pasted. */

import { find } from "./dom.js";

/** `onPhoto`: called with each photo. */
export function listenForPhotos(onPhoto: (photo: Blob) => void): void {
  for (const id of ["photo-input", "capture-input"]) {
    const input = find<HTMLInputElement>(id);
    input.addEventListener("change", () => {
      const photo = input.files?.[0];
      // Choosing the same file again must be a change.
      if (photo) onPhoto(photo);
      input.value = "";
    });
  }
  find("choose-photo").addEventListener("click", () => find<HTMLInputElement>("photo-input").click());
  listenForDrops(onPhoto);
  document.addEventListener("paste", (event) => {
    const photo = firstPhoto(event.clipboardData);
    if (photo) onPhoto(photo);
  });
}

function listenForDrops(onPhoto: (photo: Blob) => void): void {
  const mark = (isOver: boolean) => find("stage").classList.toggle("over", isOver);
  // The whole page takes a photo: one that misses the stage must not make the browser leave the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", () => mark(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const photo = firstPhoto(event.dataTransfer) ?? event.dataTransfer?.files[0];
    if (photo) onPhoto(photo);
  });
}

function firstPhoto(data: DataTransfer | null): File | undefined {
  return [...(data?.files ?? [])].find((file) => file.type.startsWith("image/"));
}
