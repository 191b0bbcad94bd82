import SwiftUI

/// Searches with a photo and lists the hits. `photo`: the bytes of a JPEG, from the camera or a PhotosPicker.
struct SearchView: View {
    let server: AskewServer
    let photo: Data?

    @State private var encoder: AskewEncoder?
    @State private var hits: [Hit] = []
    @State private var notice = "Preparing the encoder …"

    var body: some View {
        VStack(alignment: .leading) {
            Text(notice)
            List(hits, id: \.id) { hit in
                Text("\(hit.score, specifier: "%.3f")  \(hit.payload?.title ?? hit.id)")
            }
        }
        .task(id: photo) { await search() }
    }

    private func search() async {
        do {
            if encoder == nil { encoder = try await EncoderStore(folder: .applicationSupportDirectory, server: server).open() }
            guard let encoder, let photo else { return notice = "Take a photo." }
            let vector = try await Task.detached {
                try encoder.describe(decodePhoto(photo, photoSize: encoder.manifest.photoSize))
            }.value
            hits = try await server.search(vector, encoder: encoder.manifest)
            notice = hits.isEmpty ? "Nothing in this gallery looks like it." : "The photo stayed on this phone."
        } catch is CancellationError {
        } catch {
            notice = error.localizedDescription
        }
    }
}
