package askew

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import androidx.exifinterface.media.ExifInterface
import java.io.File
import java.io.IOException

/** Decode a photo: EXIF orientation applied, alpha over white, capped. Throws IOException if it is none. */
fun decodePhoto(photo: File, photoSize: Int): Pixels {
    val options = BitmapFactory.Options().apply {
        inPreferredConfig = Bitmap.Config.ARGB_8888
        // Nothing is scaled here: each platform scales differently, and the encoder's graph does it.
        inScaled = false
    }
    val header = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeFile(photo.path, header)
    if (header.outWidth.toLong() * header.outHeight > MAX_PIXELS) {
        throw IOException("Expected a photo of at most 64 megapixels, got ${header.outWidth} × ${header.outHeight} px. Shrink it.")
    }
    val stored = BitmapFactory.decodeFile(photo.path, options)
        ?: throw IOException("Expected a JPEG, PNG or WebP photo, got a file that cannot be decoded.")
    val upright = turned(stored, ExifInterface(photo.path).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1))
    val pixels = toPixels(upright.width, upright.height, photoSize) { y, row ->
        upright.getPixels(row, 0, upright.width, 0, y, upright.width, 1)
    }
    upright.recycle()
    return pixels
}

/** Apply one of the eight EXIF orientations; anything else is upright. */
private fun turned(bitmap: Bitmap, orientation: Int): Bitmap {
    val matrix = Matrix()
    when (orientation) {
        2 -> matrix.postScale(-1f, 1f)
        3 -> matrix.postRotate(180f)
        4 -> matrix.postScale(1f, -1f)
        5 -> { matrix.postRotate(90f); matrix.postScale(-1f, 1f) }
        6 -> matrix.postRotate(90f)
        7 -> { matrix.postRotate(270f); matrix.postScale(-1f, 1f) }
        8 -> matrix.postRotate(270f)
        else -> return bitmap
    }
    // `false`: right angles need no filter, and a filter would blur.
    val upright = Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, matrix, false)
    if (upright != bitmap) bitmap.recycle()
    return upright
}
