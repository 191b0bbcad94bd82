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
            do {
                hits = try await server.search(vector, encoder: encoder.manifest)
            } catch let problem as ServerProblem where problem.status == 409 {
                // The gallery has retired this encoder: the next search opens the one that it admits now.
                self.encoder = nil
                throw problem
            }
            notice = hits.isEmpty ? "Nothing in this gallery looks like it." : "The photo stayed on this phone."
        } catch is CancellationError {
        } catch let failure as URLError where failure.code == .cancelled {
        } catch {
            notice = error.localizedDescription
        }
    }
}
