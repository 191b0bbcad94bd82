import Foundation

struct Hit: Decodable {
    let id: String
    let score: Double
    let payload: Payload?

    /// The fields that this app shows; a gallery may have others.
    struct Payload: Decodable {
        let title: String?

        enum CodingKeys: CodingKey { case title }

        init(from decoder: Decoder) throws {
            // A title that is no text must not cost the whole answer.
            title = try? decoder.container(keyedBy: CodingKeys.self).decodeIfPresent(String.self, forKey: .title)
        }
    }
}

/// An encoder as the server describes it. `sha256`: of the file with those 64 digits set to `0`.
struct EncoderDescription: Decodable {
    let id: String
    let sha256: String
}

/// The server answered, but with a problem. `status` 409: the gallery has retired the encoder, open the store again.
struct ServerProblem: LocalizedError {
    let status: Int
    let errorDescription: String?
}

/// The calls of a server that a search needs (docs/api.md).
struct AskewServer {
    /// With its path prefix.
    let address: URL
    let gallery: String
    /// One with the scope `search`.
    let key: String?

    /// The admitted student for this device.
    func bestEncoder() async throws -> EncoderDescription {
        try JSONDecoder().decode(EncoderDescription.self, from: await send("v1/encoders/best", ["gallery": gallery, "runtime": "ios"]))
    }

    func manifest(_ id: String) async throws -> Data {
        try await send("v1/encoders/\(segment(id))/manifest", ["gallery": gallery])
    }

    func encoderFile(_ id: String) async throws -> Data {
        try await send("v1/encoders/\(segment(id))/file", ["gallery": gallery])
    }

    /// Send a vector, and nothing else, and return the hits, nearest first.
    func search(_ vector: [Float], encoder: Manifest, limit: Int = 10) async throws -> [Hit] {
        struct Answer: Decodable { let hits: [Hit] }
        let headers = [
            "Content-Type": "application/octet-stream",
            "Askew-Space": encoder.spaceId,
            "Askew-Dtype": "f16le",
            "Askew-Encoder": encoder.id,
        ]
        let parameters = ["limit": String(limit), "max_false_match": "0.2"]
        let path = "v1/galleries/\(segment(gallery))/search"
        let answer = try await send(path, parameters, headers, body: Float16Wire.pack(vector))
        return try JSONDecoder().decode(Answer.self, from: answer).hits
    }

    /// Throws `ServerProblem` with the sentence of the server's problem; `URLError` if no answer comes.
    private func send(
        _ path: String, _ parameters: [String: String], _ headers: [String: String] = [:], body: Data? = nil
    ) async throws -> Data {
        struct Problem: Decodable { let detail: String? }
        // Without the slash, the path would become part of the host's name, and the key would go there.
        let base = address.absoluteString
        var parts = URLComponents(string: base + (base.hasSuffix("/") ? "" : "/") + path)!
        parts.queryItems = parameters.map { URLQueryItem(name: $0.key, value: $0.value) }
        var request = URLRequest(url: parts.url!)
        headers.forEach { request.setValue($0.value, forHTTPHeaderField: $0.key) }
        if let key { request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization") }
        if let body {
            request.httpMethod = "POST"
            request.httpBody = body
        }
        let (content, response) = try await URLSession.shared.data(for: request)
        let status = (response as? HTTPURLResponse)?.statusCode ?? 0
        if (200..<300).contains(status) { return content }
        let detail = (try? JSONDecoder().decode(Problem.self, from: content))?.detail
        throw ServerProblem(status: status, errorDescription: detail ?? "The server answered \(status).")
    }

    private func segment(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-._~"))) ?? text
    }
}
