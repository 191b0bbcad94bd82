import Foundation

/// Vectors on the wire: little-endian float16, rounded to the nearest, ties to even, as numpy rounds.
enum Float16Wire {
    /// Pack a unit vector: two bytes a value. Throws `AskewFailure` for a value that float16 does not have.
    static func pack(_ vector: [Float]) throws -> Data {
        var packed = Data(capacity: 2 * vector.count)
        for (place, value) in vector.enumerated() {
            // Written out, because Swift's Float16 does not exist in the simulator of Macs with Intel processors.
            let half = roundToHalf(value.bitPattern)
            guard half & 0x7c00 != 0x7c00 else { throw AskewFailure("Expected a unit vector, got \(value) at \(place).") }
            packed.append(UInt8(half & 0xff))
            packed.append(UInt8(half >> 8))
        }
        return packed
    }

    /// The bits of the float16 nearest to a float32, given by its bits.
    private static func roundToHalf(_ bits: UInt32) -> UInt32 {
        let sign = (bits >> 16) & 0x8000
        let exponent = Int((bits >> 23) & 0xff) - 112
        let mantissa = bits & 0x7fffff
        if exponent >= 31 { return sign | 0x7c00 }
        if exponent < -10 { return sign }
        if exponent <= 0 { return sign | shiftToEven(mantissa | 0x800000, 14 - exponent) }
        return sign | ((UInt32(exponent) << 10) + shiftToEven(mantissa, 13))
    }

    private static func shiftToEven(_ value: UInt32, _ shift: Int) -> UInt32 {
        let kept = value >> UInt32(shift)
        let rest = value & ((1 << UInt32(shift)) - 1)
        let half: UInt32 = 1 << UInt32(shift - 1)
        return rest > half || (rest == half && kept & 1 == 1) ? kept + 1 : kept
    }

    /// Read base64 of little-endian float32, as manifests store golden vectors.
    static func readFloat32(_ base64: String) -> [Float] {
        let bytes = [UInt8](Data(base64Encoded: base64) ?? Data())
        return stride(from: 0, to: bytes.count - bytes.count % 4, by: 4).map { from in
            let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[from + $1]) << UInt32(8 * $1) }
            return Float(bitPattern: bits)
        }
    }
}

/// A sentence for the person: what was expected, what came, what to do.
struct AskewFailure: LocalizedError {
    let errorDescription: String?

    init(_ sentence: String) { errorDescription = sentence }
}
