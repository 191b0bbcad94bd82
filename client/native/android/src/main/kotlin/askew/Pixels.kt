package askew

/** A decoded photo: RGB, three bytes a pixel, row after row. */
class Pixels(val width: Int, val height: Int, val data: ByteArray)

/** Photos with more pixels are refused before they are decoded: 64 megapixels take 256 MB. */
const val MAX_PIXELS = 64_000_000

/** The cap rule (docs/phone.md): the side of the blocks that are averaged, 1 for photos below 2,560 px. */
fun capFactor(width: Int, height: Int, photoSize: Int): Int =
    maxOf(1, maxOf(width, height) / maxOf(2 * photoSize, 1280))

/**
 * ARGB as `Bitmap.getPixels` gives it → RGB over white, averaged over blocks of the cap rule. `row`: reads one row of
 * `width` values, so that the whole photo is never held twice. Rows and columns that fill no block are left out.
 */
fun toPixels(width: Int, height: Int, photoSize: Int, row: (Int, IntArray) -> Unit): Pixels {
    val k = capFactor(width, height, photoSize)
    val columns = width / k
    val rows = height / k
    val data = ByteArray(3 * columns * rows)
    val argb = IntArray(width)
    val sums = IntArray(3 * columns)
    for (block in 0 until rows) {
        sums.fill(k * k / 2)
        for (y in 0 until k) {
            row(block * k + y, argb)
            for (x in 0 until columns * k) {
                val colour = argb[x]
                val alpha = colour ushr 24
                for (channel in 0..2) {
                    val level = (colour ushr (16 - 8 * channel)) and 0xff
                    sums[3 * (x / k) + channel] += if (alpha == 255) level else (level * alpha + 255 * (255 - alpha) + 127) / 255
                }
            }
        }
        for (place in sums.indices) data[3 * columns * block + place] = (sums[place] / (k * k)).toByte()
    }
    return Pixels(columns, rows, data)
}
