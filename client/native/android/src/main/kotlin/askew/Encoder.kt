package askew

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.system.Os
import org.json.JSONObject
import java.io.File
import java.nio.ByteBuffer
import kotlin.math.sqrt

/** What an app needs of a manifest (`GET /v1/encoders/{id}/manifest`). */
class Manifest(json: String) {
    private val fields = JSONObject(json)
    val id: String = fields.getString("name") + "@" + fields.getString("version")
    val space: String = fields.getString("space_id")
    val photoSize: Int = fields.getInt("photo_size")
    val tolerance: Double = fields.getDouble("tolerance")
    val golden: Map<String, FloatArray> = fields.getJSONObject("golden").let { golden ->
        golden.keys().asSequence().associateWith { Float16.readFloat32(golden.getString(it)) }
    }
}

/** An encoder file on ONNX Runtime: loaded, proved on this device, and run. Not for the main thread. */
class Encoder private constructor(private val session: OrtSession, val manifest: Manifest) : AutoCloseable {
    companion object {
        /** Load a file and recompute its golden vectors. Throws IllegalStateException if this device computes them wrongly. */
        fun open(file: File, manifest: Manifest): Encoder {
            // ONNX Runtime from 1.29 on reports to Microsoft, unless this is set before it is first used.
            Os.setenv("ORT_DISABLE_TELEMETRY", "1", false)
            // The CPU by default: other providers only where the golden vectors still agree with them.
            val session = OrtEnvironment.getEnvironment().createSession(file.path, OrtSession.SessionOptions())
            val encoder = Encoder(session, manifest)
            try {
                for ((name, recorded) in manifest.golden) {
                    val distance = cosineDistance(encoder.describe(GoldenPicture.draw(name)), recorded)
                    // NaN, too, is a disagreement.
                    check(distance <= manifest.tolerance) {
                        "This device computes the picture $name wrongly: off by $distance, at most ${manifest.tolerance} is allowed."
                    }
                }
            } catch (failure: Exception) {
                session.close()
                throw failure
            }
            return encoder
        }
    }

    /** Describe a decoded photo: a unit vector. Throws IllegalArgumentException for a photo that is too thin. */
    fun describe(photo: Pixels): FloatArray {
        val shrink = minOf(1.0, manifest.photoSize.toDouble() / maxOf(photo.width, photo.height))
        require(Math.floor(minOf(photo.width, photo.height) * shrink + 0.5) >= 32) {
            "Expected a photo that is less thin than ${photo.width} × ${photo.height} px. Crop it to its subject."
        }
        val bytes = ByteBuffer.allocateDirect(photo.data.size)
        bytes.put(photo.data)
        bytes.rewind()
        val shape = longArrayOf(1, photo.height.toLong(), photo.width.toLong(), 3)
        OnnxTensor.createTensor(OrtEnvironment.getEnvironment(), bytes, shape, OnnxJavaType.UINT8).use { image ->
            session.run(mapOf("image" to image), setOf("descriptor")).use { answer ->
                @Suppress("UNCHECKED_CAST")
                return (answer.get(0).value as Array<FloatArray>)[0]
            }
        }
    }

    override fun close() = session.close()
}

/** 1 minus the cosine of two vectors; NaN if a value is not finite. */
fun cosineDistance(one: FloatArray, other: FloatArray): Double {
    if (one.size != other.size) return Double.NaN
    var product = 0.0
    var ones = 0.0
    var others = 0.0
    for (place in one.indices) {
        product += one[place].toDouble() * other[place]
        ones += one[place].toDouble() * one[place]
        others += other[place].toDouble() * other[place]
    }
    val distance = 1 - product / sqrt(ones * others)
    return if (distance < 0) 0.0 else distance
}
