import Foundation
import OnnxRuntimeBindings

/// What an app needs of a manifest (`GET /v1/encoders/{id}/manifest`).
struct Manifest: Codable {
    let name: String
    let version: String
    let spaceId: String
    let photoSize: Int
    let golden: [String: String]
    let tolerance: Double

    var id: String { "\(name)@\(version)" }

    enum CodingKeys: String, CodingKey {
        case name, version, golden, tolerance
        case spaceId = "space_id"
        case photoSize = "photo_size"
    }
}

/// An encoder file on ONNX Runtime: loaded, proved on this device, and run. Not for the main thread.
/// It may be handed to another task: ONNX Runtime's sessions can be run from any thread.
final class AskewEncoder: @unchecked Sendable {
    let manifest: Manifest
    private let environment: ORTEnv
    private let session: ORTSession

    /// Load a file and recompute its golden vectors. Throws `AskewFailure` if this device computes them wrongly.
    init(file: URL, manifest: Manifest) throws {
        self.manifest = manifest
        // ONNX Runtime from 1.29 on reports to Microsoft, unless this is set before it is first used.
        setenv("ORT_DISABLE_TELEMETRY", "1", 0)
        environment = try ORTEnv(loggingLevel: .warning)
        // The CPU by default: other providers only where the golden vectors still agree with them.
        session = try ORTSession(env: environment, modelPath: file.path, sessionOptions: ORTSessionOptions())
        for (name, recorded) in manifest.golden {
            let distance = cosineDistance(try describe(GoldenPicture.draw(name)), Float16Wire.readFloat32(recorded))
            // NaN, too, is a disagreement.
            guard distance <= manifest.tolerance else {
                throw AskewFailure(
                    "This device computes the picture \(name) wrongly: off by \(distance), at most \(manifest.tolerance) is allowed."
                )
            }
        }
    }

    /// Describe a decoded photo: a unit vector. Throws `AskewFailure` for a photo that is too thin.
    func describe(_ photo: Pixels) throws -> [Float] {
        let shrink = min(1, Double(manifest.photoSize) / Double(max(photo.width, photo.height)))
        guard (Double(min(photo.width, photo.height)) * shrink + 0.5).rounded(.down) >= 32 else {
            throw AskewFailure(
                "Expected a photo that is less thin than \(photo.width) × \(photo.height) px. Crop it to its subject."
            )
        }
        let shape: [NSNumber] = [1, NSNumber(value: photo.height), NSNumber(value: photo.width), 3]
        let bytes = NSMutableData(data: Data(photo.data))
        let image = try ORTValue(tensorData: bytes, elementType: .uInt8, shape: shape)
        let answer = try session.run(withInputs: ["image": image], outputNames: ["descriptor"], runOptions: nil)
        guard let descriptor = answer["descriptor"] else {
            throw AskewFailure("Expected an encoder file with the output `descriptor`.")
        }
        let data = try descriptor.tensorData() as Data
        return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}

/// 1 minus the cosine of two vectors; NaN if a value is not finite.
func cosineDistance(_ one: [Float], _ other: [Float]) -> Double {
    guard one.count == other.count else { return .nan }
    var (product, ones, others) = (0.0, 0.0, 0.0)
    for (a, b) in zip(one, other) {
        product += Double(a) * Double(b)
        ones += Double(a) * Double(a)
        others += Double(b) * Double(b)
    }
    let distance = 1 - product / (ones * others).squareRoot()
    return distance < 0 ? 0 : distance
}
