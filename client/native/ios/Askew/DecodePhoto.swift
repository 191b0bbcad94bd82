import CoreGraphics
import Foundation
import ImageIO

/// Decode a photo: EXIF orientation applied, ICC profile ignored, alpha over white, capped. Throws `AskewFailure` if it is none.
func decodePhoto(_ photo: Data, photoSize: Int) throws -> Pixels {
    guard let source = CGImageSourceCreateWithData(photo as CFData, nil),
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
    else { throw AskewFailure("Expected a JPEG, PNG or WebP photo, got a file that cannot be decoded.") }
    // Nothing is decoded before it is drawn.
    guard image.width * image.height <= 64_000_000 else {
        throw AskewFailure("Expected a photo of at most 64 megapixels, got \(image.width) × \(image.height) px. Shrink it.")
    }
    let orientation = properties[kCGImagePropertyOrientation] as? Int ?? 1
    let (width, height) = (image.width, image.height)
    var rgba = [UInt8](repeating: 255, count: 4 * width * height)
    // The photo's own colour space, if it is RGB, so that nothing is converted.
    let own = image.colorSpace.flatMap { $0.model == .rgb && $0.supportsOutput ? $0 : nil }
    let drawn = rgba.withUnsafeMutableBytes { memory -> Bool in
        guard let context = CGContext(
            data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
            space: own ?? CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue
        ) else { return false }
        context.interpolationQuality = .none
        // Over the white that is there already.
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
    }
    guard drawn else { throw AskewFailure("This phone has too little memory for a photo of \(width) × \(height) px.") }
    return capped(rgba, width, height, orientation, photoSize)
}

/// The cap rule (docs/phone.md) on the upright photo: blocks of k × k pixels are averaged; those that are not full are left out.
func capped(_ rgba: [UInt8], _ width: Int, _ height: Int, _ orientation: Int, _ photoSize: Int) -> Pixels {
    let k = max(1, max(width, height) / max(2 * photoSize, 1280))
    let isSideways = (5...8).contains(orientation)
    let (columns, rows) = ((isSideways ? height : width) / k, (isSideways ? width : height) / k)
    var data = [UInt8](repeating: 0, count: 3 * columns * rows)
    for row in 0..<rows {
        for column in 0..<columns {
            var (red, green, blue) = (k * k / 2, k * k / 2, k * k / 2)
            for y in (row * k)..<((row + 1) * k) {
                for x in (column * k)..<((column + 1) * k) {
                    let from = 4 * stored(x, y, width, height, orientation)
                    red += Int(rgba[from])
                    green += Int(rgba[from + 1])
                    blue += Int(rgba[from + 2])
                }
            }
            let to = 3 * (row * columns + column)
            data[to] = UInt8(red / (k * k))
            data[to + 1] = UInt8(green / (k * k))
            data[to + 2] = UInt8(blue / (k * k))
        }
    }
    return Pixels(width: columns, height: rows, data: data)
}

/// Where the pixel (x, y) of the upright photo is stored, in an image of `width` × `height` with an EXIF orientation.
private func stored(_ x: Int, _ y: Int, _ width: Int, _ height: Int, _ orientation: Int) -> Int {
    let (right, bottom) = (width - 1, height - 1)
    switch orientation {
    case 2: return y * width + right - x
    case 3: return (bottom - y) * width + right - x
    case 4: return (bottom - y) * width + x
    case 5: return x * width + y
    case 6: return (bottom - x) * width + y
    case 7: return (bottom - x) * width + right - y
    case 8: return x * width + right - y
    default: return y * width + x
    }
}
