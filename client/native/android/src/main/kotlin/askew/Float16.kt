package askew

import java.util.Base64

/** Vectors on the wire: little-endian float16, rounded to the nearest, ties to even, as numpy rounds. */
object Float16 {
    /** Pack a unit vector: two bytes a value. Throws IllegalArgumentException for a value that float16 does not have. */
    fun pack(vector: FloatArray): ByteArray {
        val packed = ByteArray(2 * vector.size)
        for (place in vector.indices) {
            val half = roundToHalf(vector[place].toRawBits())
            require(half and 0x7c00 != 0x7c00) { "Expected a unit vector, got ${vector[place]} at $place." }
            packed[2 * place] = half.toByte()
            packed[2 * place + 1] = (half ushr 8).toByte()
        }
        return packed
    }

    /** The bits of the float16 nearest to a float32, given by its bits. */
    private fun roundToHalf(bits: Int): Int {
        val sign = (bits ushr 16) and 0x8000
        val exponent = ((bits ushr 23) and 0xff) - 112
        val mantissa = bits and 0x7fffff
        return when {
            exponent >= 31 -> sign or 0x7c00
            exponent < -10 -> sign
            exponent <= 0 -> sign or shiftToEven(mantissa or 0x800000, 14 - exponent)
            else -> sign or ((exponent shl 10) + shiftToEven(mantissa, 13))
        }
    }

    private fun shiftToEven(value: Int, shift: Int): Int {
        val kept = value ushr shift
        val rest = value and ((1 shl shift) - 1)
        val half = 1 shl (shift - 1)
        return if (rest > half || (rest == half && kept and 1 == 1)) kept + 1 else kept
    }

    /** Read base64 of little-endian float32, as manifests store golden vectors. */
    fun readFloat32(base64: String): FloatArray {
        val bytes = java.nio.ByteBuffer.wrap(Base64.getDecoder().decode(base64)).order(java.nio.ByteOrder.LITTLE_ENDIAN)
        return FloatArray(bytes.remaining() / 4) { bytes.getFloat() }
    }
}
