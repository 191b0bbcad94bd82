package askew

import java.security.MessageDigest

/**
 * Whether a file is the encoder that the server described. The file holds its own SHA-256, which is computed with those
 * 64 digits set to `0`.
 */
fun isIntact(file: ByteArray, sha256: String): Boolean {
    val digits = sha256.toByteArray()
    val place = (0..file.size - digits.size).firstOrNull { from -> digits.indices.all { file[from + it] == digits[it] } }
        ?: return false
    val digest = MessageDigest.getInstance("SHA-256")
    digest.update(file, 0, place)
    digest.update(ByteArray(digits.size) { 0x30 })
    digest.update(file, place + digits.size, file.size - place - digits.size)
    return digest.digest().joinToString("") { "%02x".format(it) } == sha256
}
