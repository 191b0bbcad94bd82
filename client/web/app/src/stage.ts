/** The place of the photo: a welcome, the camera's live picture, or the photo with its crop. */

import { type Crop, isPhotoTooLarge } from "@askew/client";

import { Camera, hasLiveCamera } from "./camera.js";
import { CropFrame } from "./crop.js";
import { find } from "./dom.js";
import { listenForPhotos } from "./photo-inputs.js";
import { CROP } from "./strings.js";

export interface StageEvents {
  readonly onPhoto: () => void;
  readonly onCrop: () => void;
  /** Called with a CameraError. */
  readonly onCameraFailure: (error: unknown) => void;
}

type Mode = "welcome" | "camera" | "photo";

export class Stage {
  private readonly video = find<HTMLVideoElement>("viewfinder");
  private readonly image = find<HTMLImageElement>("photo");
  private readonly torch = find<HTMLButtonElement>("torch");
  private readonly camera = new Camera(this.video);
  private readonly cropFrame: CropFrame;
  private taken: Blob | undefined;

  constructor(private readonly events: StageEvents) {
    this.cropFrame = new CropFrame(events.onCrop);
    this.image.alt = CROP.photo;
    find("insecure").hidden = hasLiveCamera();
    listenForPhotos((photo) => this.take(photo));
    find("open-camera").addEventListener("click", () => void this.openCamera());
    find("close-camera").addEventListener("click", () => this.closeCamera());
    find("shoot").addEventListener("click", () => void this.shoot());
    this.torch.addEventListener("click", () => void this.toggleTorch());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && document.body.dataset["stage"] === "camera") this.closeCamera();
    });
    this.show("welcome");
  }

  get photo(): Blob | undefined {
    return this.taken;
  }

  get crop(): Crop | undefined {
    return this.cropFrame.value;
  }

  /** Open the camera, or the phone's camera app where the page may not use the camera. */
  async openCamera(): Promise<void> {
    if (!hasLiveCamera()) {
      find<HTMLInputElement>("capture-input").click();
      return;
    }
    this.show("camera");
    // The buttons can be pressed from any place of the page.
    scrollTo({ top: 0 });
    this.torch.hidden = true;
    find("shoot").focus();
    try {
      if (!(await this.camera.open())) return;
      this.torch.hidden = !this.camera.hasTorch;
      this.torch.setAttribute("aria-pressed", "false");
    } catch (error) {
      this.closeCamera();
      this.events.onCameraFailure(error);
    }
  }

  private closeCamera(): void {
    this.camera.close();
    this.show(this.taken ? "photo" : "welcome");
    find("open-camera").focus();
  }

  private async shoot(): Promise<void> {
    const photo = await this.camera.shoot();
    if (photo) this.take(photo);
  }

  private async toggleTorch(): Promise<void> {
    const isOn = this.torch.getAttribute("aria-pressed") !== "true";
    if (await this.camera.setTorch(isOn)) this.torch.setAttribute("aria-pressed", String(isOn));
  }

  private take(photo: Blob): void {
    this.camera.close();
    this.taken = photo;
    void this.showImage(photo);
    this.cropFrame.reset();
    this.show("photo");
    scrollTo({ top: 0 });
    this.events.onPhoto();
  }

  /** Show the photo, unless showing it would fill a phone's memory: then the search says that it is too large. */
  private async showImage(photo: Blob): Promise<void> {
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.image.removeAttribute("src");
    const isTooLarge = await isPhotoTooLarge(photo);
    if (photo === this.taken && !isTooLarge) this.image.src = URL.createObjectURL(photo);
  }

  private show(mode: Mode): void {
    document.body.dataset["stage"] = mode;
    find("welcome").hidden = mode !== "welcome";
    this.video.hidden = mode !== "camera";
    find("photo-area").hidden = mode !== "photo";
    find("camera-actions").hidden = mode !== "camera";
    find("photo-actions").hidden = mode === "camera";
  }
}
