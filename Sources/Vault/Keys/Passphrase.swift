// Unicode normalisation stands in the standard library for its own use; the alternative would be all of Foundation.
@_spi(_Unicode) import Swift

import Model

/// A person's passphrase: UTF-8 in Unicode normal form C, so that every keyboard types the same bytes.
package struct Passphrase: SecretValue {
    /// Longest passphrase in bytes.
    package static let maximumLength = 4096

    /// The bytes that are given to scrypt.
    let bytes: [UInt8]

    /// Takes what was typed, or what a passphrase file holds: one line end at the end is left out.
    ///
    /// Throws `usage` for an empty passphrase, one that is not UTF-8, one of several lines, or one longer than 4 KiB.
    package init(_ input: [UInt8]) throws {
        var line = input[...]
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        guard !line.isEmpty else {
            throw HoldfastError(.usage, "The passphrase is empty. A vault needs one that nobody can guess.")
        }
        guard line.count <= Passphrase.maximumLength else {
            throw HoldfastError(.usage, "The passphrase is longer than \(Passphrase.maximumLength) bytes.")
        }
        guard let text = String(validating: line, as: UTF8.self) else {
            throw HoldfastError(.usage, "The passphrase is not UTF-8 text.")
        }
        guard !line.contains(where: { $0 == 0 || $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) else {
            throw HoldfastError(.usage, "The passphrase must be one line: the file given holds several.")
        }
        var normal = String.UnicodeScalarView()
        normal.append(contentsOf: text._nfc)
        bytes = Array(String(normal).utf8)
    }
}

/// The 32 bytes of a server's key file.
package struct ServerKey: SecretValue {
    /// Bytes of the key.
    package static let length = 32

    let bytes: [UInt8]

    /// A new key from the system's random source.
    package static func random() -> ServerKey { ServerKey(unchecked: KeyCrypto.random(length)) }

    private init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// Takes what the key file holds; throws `usage` unless it is 32 bytes.
    package init(_ bytes: [UInt8]) throws {
        guard bytes.count == ServerKey.length else {
            throw HoldfastError(.usage, "A server key file holds exactly \(ServerKey.length) bytes; this one does not.")
        }
        self.bytes = bytes
    }

    /// What the key file holds: exactly the 32 bytes.
    package var fileBytes: [UInt8] { bytes }
}
