/// A decoded photo: RGB, three bytes a pixel, row after row.
struct Pixels {
    let width: Int
    let height: Int
    let data: [UInt8]
}

/// Golden pictures, for which every device must compute the vectors that an encoder's manifest records.
enum GoldenPicture {
    /// Width and height of each golden picture.
    static let sizes = ["large": (1400, 1050), "thin": (333, 149), "small": (90, 120)]

    /// Draw a golden picture by name. Throws `AskewFailure` if this version does not know it.
    static func draw(_ name: String) throws -> Pixels {
        guard let (width, height) = sizes[name] else {
            throw AskewFailure("The encoder records a vector of an unknown picture, \(name). Update the app.")
        }
        return draw(width: width, height: height, seed: 3 + name.count)
    }

    /// Draw one in any size, by whole-number arithmetic only. The seed moves the sun and colours the roof.
    static func draw(width: Int, height: Int, seed: Int) -> Pixels {
        var data = [UInt8]()
        data.reserveCapacity(3 * width * height)
        for row in 0..<height {
            let y = row * 840 / height
            for column in 0..<width {
                let (red, green, blue) = colourAt(column * 840 / width, y, seed)
                data.append(UInt8(red))
                data.append(UInt8(green))
                data.append(UInt8(blue))
            }
        }
        return Pixels(width: width, height: height, data: data)
    }

    /// What is drawn last covers what was drawn before, so it is asked for first.
    private static func colourAt(_ x: Int, _ y: Int, _ seed: Int) -> (Int, Int, Int) {
        if abs(squared(x - 690) + squared(y - 600) - squared(110)) < 3500 { return (30, 40, 160) }
        if y >= 770 { return (74, 128, 66) }
        if x > 280 && x < 370 && y > 560 && y < 770 { return (38, 62, 48) }
        if y > 190 && y <= 330 && abs(x - 325) < (y - 190) * 2 { return (70, 58 + seed, 84) }
        if x > 90 && x < 560 && y > 330 && y < 770 {
            let isMortar = y % 48 < 5 || (x + (y / 48) % 2 * 40) % 80 < 5
            return isMortar ? (222, 208, 190) : (176, 92, 58)
        }
        if squared(x - 610) + squared(y - 180 - 10 * seed) < squared(70 + 4 * seed) { return (250, 214, 80) }
        return (90 + y / 8, 120 + (x + y) / 16, 230 - y / 6)
    }

    private static func squared(_ value: Int) -> Int { value * value }
}
