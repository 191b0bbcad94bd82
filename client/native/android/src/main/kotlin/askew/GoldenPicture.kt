package askew

import kotlin.math.abs

/** Golden pictures, for which every device must compute the vectors that an encoder's manifest records. */
object GoldenPicture {
    /** Width and height of each golden picture. */
    val SIZES = mapOf("large" to Pair(1400, 1050), "thin" to Pair(333, 149), "small" to Pair(90, 120))

    /** Draw a golden picture by name. Throws IllegalArgumentException if this version does not know it. */
    fun draw(name: String): Pixels {
        val (width, height) = requireNotNull(SIZES[name]) {
            "The encoder records a vector of an unknown picture, $name. Update the app."
        }
        return draw(width, height, 3 + name.length)
    }

    /** Draw one in any size, by whole-number arithmetic only. The seed moves the sun and colours the roof. */
    fun draw(width: Int, height: Int, seed: Int): Pixels {
        val data = ByteArray(3 * width * height)
        var to = 0
        for (row in 0 until height) {
            val y = row * 840 / height
            for (column in 0 until width) {
                val colour = colourAt(column * 840 / width, y, seed)
                data[to++] = (colour shr 16).toByte()
                data[to++] = (colour shr 8).toByte()
                data[to++] = colour.toByte()
            }
        }
        return Pixels(width, height, data)
    }

    /** What is drawn last covers what was drawn before, so it is asked for first. */
    private fun colourAt(x: Int, y: Int, seed: Int): Int = when {
        abs(squared(x - 690) + squared(y - 600) - squared(110)) < 3500 -> rgb(30, 40, 160)
        y >= 770 -> rgb(74, 128, 66)
        x > 280 && x < 370 && y > 560 && y < 770 -> rgb(38, 62, 48)
        y > 190 && y <= 330 && abs(x - 325) < (y - 190) * 2 -> rgb(70, 58 + seed, 84)
        x > 90 && x < 560 && y > 330 && y < 770 -> if (isMortar(x, y)) rgb(222, 208, 190) else rgb(176, 92, 58)
        squared(x - 610) + squared(y - 180 - 10 * seed) < squared(70 + 4 * seed) -> rgb(250, 214, 80)
        else -> rgb(90 + y / 8, 120 + (x + y) / 16, 230 - y / 6)
    }

    private fun isMortar(x: Int, y: Int) = y % 48 < 5 || (x + (y / 48) % 2 * 40) % 80 < 5

    private fun squared(value: Int) = value * value

    private fun rgb(red: Int, green: Int, blue: Int) = (red shl 16) or (green shl 8) or blue
}
