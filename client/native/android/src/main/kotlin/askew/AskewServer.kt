package askew

import org.json.JSONObject
import java.net.HttpURLConnection
import java.net.URL
import java.net.URLEncoder

class Hit(val id: String, val score: Double, val payload: JSONObject?)

/** An encoder as the server describes it. `sha256`: of the file with those 64 digits set to `0`. */
class EncoderDescription(val id: String, val sha256: String)

/** The server answered, but with a problem. `status` 409: the gallery has retired the encoder, open the store again. */
class ServerProblem(val status: Int, sentence: String) : Exception(sentence)

/**
 * The calls of a server that a search needs (docs/api.md). Not for the main thread. `address`: with its path prefix. `key`:
 * one with the scope `search`.
 */
class AskewServer(address: String, private val gallery: String, private val key: String? = null) {
    private val address = address.trimEnd('/')

    /** The admitted student for this device. */
    fun bestEncoder(): EncoderDescription {
        val best = JSONObject(String(send("/v1/encoders/best?gallery=${quoted(gallery)}&runtime=android")))
        return EncoderDescription(best.getString("id"), best.getString("sha256"))
    }

    fun manifest(id: String): String = String(send("/v1/encoders/${quoted(id)}/manifest?gallery=${quoted(gallery)}"))

    fun encoderFile(id: String): ByteArray = send("/v1/encoders/${quoted(id)}/file?gallery=${quoted(gallery)}")

    /** Send a vector, and nothing else, and return the hits, nearest first. */
    fun search(vector: FloatArray, encoder: Manifest, limit: Int = 10): List<Hit> {
        val headers = mapOf(
            "Content-Type" to "application/octet-stream",
            "Askew-Space" to encoder.space,
            "Askew-Dtype" to "f16le",
            "Askew-Encoder" to encoder.id
        )
        val path = "/v1/galleries/${quoted(gallery)}/search?limit=$limit&max_false_match=0.2"
        val hits = JSONObject(String(send(path, headers, Float16.pack(vector)))).getJSONArray("hits")
        return List(hits.length()) {
            val hit = hits.getJSONObject(it)
            Hit(hit.getString("id"), hit.getDouble("score"), hit.optJSONObject("payload"))
        }
    }

    /** Throws ServerProblem with the sentence of the server's problem; IOException if no answer comes. */
    private fun send(path: String, headers: Map<String, String> = emptyMap(), body: ByteArray? = null): ByteArray {
        val connection = URL(address + path).openConnection() as HttpURLConnection
        connection.connectTimeout = 10_000
        connection.readTimeout = 60_000
        headers.forEach(connection::setRequestProperty)
        if (key != null) connection.setRequestProperty("Authorization", "Bearer $key")
        try {
            if (body != null) {
                connection.requestMethod = "POST"
                connection.doOutput = true
                connection.setFixedLengthStreamingMode(body.size)
                connection.outputStream.use { it.write(body) }
            }
            if (connection.responseCode in 200..299) return connection.inputStream.use { it.readBytes() }
            val problem = connection.errorStream?.use { String(it.readBytes()) } ?: "{}"
            val detail = try { JSONObject(problem).optString("detail") } catch (_: Exception) { "" }
            val sentence = if (detail.isEmpty()) "The server answered ${connection.responseCode}." else detail
            throw ServerProblem(connection.responseCode, sentence)
        } finally {
            connection.disconnect()
        }
    }

    private fun quoted(text: String) = URLEncoder.encode(text, "UTF-8").replace("+", "%20")
}
