package askew

import java.io.File
import java.io.IOException

/**
 * Fetches the encoder that fits this phone, once, and keeps it in `folder`, such as `context.filesDir`. It keeps one
 * encoder: an app with several galleries needs a folder for each.
 */
class EncoderStore(private val folder: File, private val server: AskewServer) {
    private val note = File(folder, "askew-encoder")

    /**
     * The encoder of a gallery, ready to describe. Without a network, the one that was kept last; if the server refuses,
     * ServerProblem is thrown.
     */
    fun open(): Encoder {
        val kept = if (note.exists()) note.readText() else null
        val best = try {
            server.bestEncoder()
        } catch (failure: IOException) {
            if (kept == null) throw failure
            null
        }
        val sha256 = best?.sha256 ?: kept!!
        val file = File(folder, "askew-$sha256.onnx")
        val manifest = File(folder, "askew-$sha256.json")
        if (!manifest.exists() || !file.exists() || !isIntact(file.readBytes(), sha256)) {
            if (best == null) throw IOException("The kept encoder is damaged. Connect to the network to fetch it again.")
            val fetched = server.encoderFile(best.id)
            if (!isIntact(fetched, sha256)) {
                throw IOException("Expected ${best.id} with SHA-256 ${sha256.take(12)}…, got another file. Fetch it again.")
            }
            replace(file, fetched)
            replace(manifest, server.manifest(best.id).toByteArray())
        }
        replace(note, sha256.toByteArray())
        folder.listFiles { each -> each.name.startsWith("askew-") && each != note && !each.name.contains(sha256) }
            ?.forEach { it.delete() }
        return Encoder.open(file, Manifest(manifest.readText()))
    }

    /** A crash leaves the old file or the new one, never a part. */
    private fun replace(file: File, content: ByteArray) {
        val part = File(folder, file.name + ".part")
        part.writeBytes(content)
        if (!part.renameTo(file)) throw IOException("$file cannot be written.")
    }
}
