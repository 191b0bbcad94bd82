import CryptoKit
import Foundation

/// Fetches the encoder that fits this phone, once, and keeps it in `folder`, such as Application Support. It keeps one
/// encoder: an app with several galleries needs a folder for each.
struct EncoderStore {
    let folder: URL
    let server: AskewServer

    /// The encoder of a gallery, ready to describe. Without a network, the one that was kept last; if the server refuses,
    /// `ServerProblem` is thrown.
    func open() async throws -> AskewEncoder {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let note = folder.appendingPathComponent("askew-encoder")
        let kept = try? String(contentsOf: note, encoding: .utf8)
        var best: EncoderDescription?
        do {
            best = try await server.bestEncoder()
        } catch let failure as URLError {
            if kept == nil || failure.code == .cancelled { throw failure }
        }
        let sha256 = best?.sha256 ?? kept!
        let file = folder.appendingPathComponent("askew-\(sha256).onnx")
        let manifest = folder.appendingPathComponent("askew-\(sha256).json")
        let stored = try? Data(contentsOf: file)
        if !FileManager.default.fileExists(atPath: manifest.path) || !isIntact(stored ?? Data(), sha256) {
            guard let best else {
                throw AskewFailure("The kept encoder is damaged. Connect to the network to fetch it again.")
            }
            let fetched = try await server.encoderFile(best.id)
            guard isIntact(fetched, sha256) else {
                throw AskewFailure("Expected \(best.id) with SHA-256 \(sha256.prefix(12))…, got another file. Fetch it again.")
            }
            try fetched.write(to: file, options: .atomic)
            try await server.manifest(best.id).write(to: manifest, options: .atomic)
        }
        try Data(sha256.utf8).write(to: note, options: .atomic)
        for old in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where old.lastPathComponent.hasPrefix("askew-") && old.lastPathComponent != "askew-encoder"
            && !old.lastPathComponent.contains(sha256) {
            try? FileManager.default.removeItem(at: old)
        }
        return try AskewEncoder(file: file, manifest: JSONDecoder().decode(Manifest.self, from: Data(contentsOf: manifest)))
    }
}

/// Whether a file is the encoder that the server described. The file holds its own SHA-256, which is computed with those
/// 64 digits set to `0`.
func isIntact(_ file: Data, _ sha256: String) -> Bool {
    guard let place = file.range(of: Data(sha256.utf8)) else { return false }
    var unsealed = file
    unsealed.replaceSubrange(place, with: Data(repeating: 0x30, count: place.count))
    return SHA256.hash(data: unsealed).map { String(format: "%02x", $0) }.joined() == sha256
}
