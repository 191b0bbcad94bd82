/** The rear camera: a live picture, a light where the camera has one, and one shot. */

/** Why there is no live picture: `camera-refused`, `no-camera` or `camera-in-use`. */
export class CameraError extends Error {
  override readonly name = "CameraError";

  constructor(readonly kind: "camera-refused" | "no-camera" | "camera-in-use") {
    super(kind);
  }
}

/** Whether the browser offers a camera; in an insecure context it does not. */
export const hasLiveCamera = (): boolean => navigator.mediaDevices !== undefined;

export class Camera {
  private stream: MediaStream | undefined;
  private turn = 0;

  constructor(private readonly video: HTMLVideoElement) {}

  /** Show the live picture; false if the camera was closed while it started. Throws CameraError. */
  async open(): Promise<boolean> {
    this.close();
    const turn = ++this.turn;
    const stream = await openStream();
    if (turn !== this.turn) {
      stopTracks(stream);
      return false;
    }
    this.stream = stream;
    this.video.srcObject = stream;
    // A browser that saves power may refuse to play; the picture then starts with a tap.
    await this.video.play().catch(() => {});
    return true;
  }

  /** Stop the camera, so that its lamp goes out. */
  close(): void {
    this.turn++;
    if (this.stream) stopTracks(this.stream);
    this.stream = undefined;
    this.video.srcObject = null;
  }

  get hasTorch(): boolean {
    const track = this.track;
    return Boolean(track && "getCapabilities" in track && "torch" in track.getCapabilities());
  }

  /** Switch the light. False if the camera refuses. */
  async setTorch(isOn: boolean): Promise<boolean> {
    try {
      // `torch` is missing from TypeScript's types.
      await this.track?.applyConstraints({ advanced: [{ torch: isOn } as MediaTrackConstraintSet] });
      return true;
    } catch {
      return false;
    }
  }

  /** The current picture as a JPEG file; undefined if there is no picture yet. */
  async shoot(): Promise<Blob | undefined> {
    const { videoHeight: height, videoWidth: width } = this.video;
    if (!this.stream || width === 0) return undefined;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    return (await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95))) ?? undefined;
  }

  private get track(): MediaStreamTrack | undefined {
    return this.stream?.getVideoTracks()[0];
  }
}

async function openStream(): Promise<MediaStream> {
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: { ideal: "environment" }, width: { ideal: 1920 }, height: { ideal: 1440 } },
    });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError" || name === "SecurityError") throw new CameraError("camera-refused");
    if (name === "NotReadableError" || name === "AbortError") throw new CameraError("camera-in-use");
    throw new CameraError("no-camera");
  }
}

function stopTracks(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
