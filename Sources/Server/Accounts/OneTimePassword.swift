import Crypto
import Foundation
package import Model

/// Time-based one-time passwords (RFC 6238) as authenticator apps make them: SHA-1, six digits, steps of 30 seconds.
package enum OneTimePassword {
    package static let secretLength = 20
    private static let step: Int64 = 30

    package static func newSecret() -> [UInt8] { PasswordHash.random(secretLength) }

    /// The code of a step (RFC 4226, 5.3).
    package static func code(_ secret: [UInt8], step: Int64) -> String {
        let counter = withUnsafeBytes(of: step.bigEndian) { Array($0) }
        let mac = Array(HMAC<Insecure.SHA1>.authenticationCode(for: counter, using: SymmetricKey(data: secret)))
        let offset = Int(mac[19] & 15)
        let number =
            (UInt32(mac[offset]) & 0x7F) << 24 | UInt32(mac[offset + 1]) << 16 | UInt32(mac[offset + 2]) << 8
            | UInt32(mac[offset + 3])
        let digits = String(number % 1_000_000)
        return String(repeating: "0", count: 6 - digits.count) + digits
    }

    package static func step(at time: Timestamp) -> Int64 { time.seconds / step }

    /// The step that `code` belongs to: this one, the one before or the one after, and later than `last`, so that none is
    /// used twice. `nil` when it is none of them.
    static func accept(_ code: String, _ secret: [UInt8], at time: Timestamp, after last: Int64) -> Int64? {
        let typed = code.filter { !$0.isWhitespace }
        guard typed.utf8.count == 6 else { return nil }
        let now = step(at: time)
        var found: Int64?
        for step in [now - 1, now, now + 1] where step > last {
            if PasswordHash.isEqual(Array(typed.utf8), Array(self.code(secret, step: step).utf8)) { found = step }
        }
        return found
    }

    /// What an app reads, by hand or as a picture.
    package static func address(_ secret: [UInt8], account: String, server: String) -> String {
        let issuer = server.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "Holdfast"
        let name = account.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? account
        return "otpauth://totp/\(issuer):\(name)?secret=\(base32(secret))&issuer=\(issuer)"
    }

    /// RFC 4648, without padding.
    package static func base32(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        var text = ""
        var value: UInt32 = 0
        var bits = 0
        for byte in bytes {
            value = (value << 8 | UInt32(byte)) & 0xFFFFF
            bits += 8
            while bits >= 5 {
                bits -= 5
                text.append(alphabet[Int(value >> UInt32(bits) & 31)])
            }
        }
        if bits > 0 { text.append(alphabet[Int(value << UInt32(5 - bits) & 31)]) }
        return text
    }
}
