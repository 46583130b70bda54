import Crypto
package import Model

/// The convergence secret of a domain, with what chunking and trees draw from it.
///
/// Who holds it can test guesses about what the domain's machines store, and opens nothing.
package struct DomainSecret: SecretValue {
    /// Bytes of the secret.
    package static let length = 32

    /// How far deduplication reaches: `vault`, or `machine/` and an id.
    package let domain: String
    /// Which secret of the domain, from 1; stands in every blob sealed with it.
    package let number: UInt16
    /// The 32 bytes from which content keys are derived.
    package let secret: [UInt8]
    /// The keyed table of the rolling hash, 256 values.
    package let gearTable: [UInt64]
    /// Seed of the hash that ends bundles.
    package let bundleSeed: UInt64
    /// Seed of the hash that ends nodes; the level is added to it.
    package let treeSeed: UInt64
    /// Seed of the hash that ends pieces of a list of extents; the level is added to it.
    package let extentsSeed: UInt64

    /// The domain of the whole vault.
    package static let vaultDomain = "vault"

    /// The domain of one machine.
    package static func domain(of machine: MachineID) -> String { "machine/\(machine.hex)" }

    /// Derives the secret `number` (from 1) of `domain` from the master secret.
    package init(master: MasterSecret, domain: String, number: UInt16) {
        var info = ByteWriter()
        info.raw(Array(label: "holdfast/1/convergence"))
        info.u8(0)
        info.raw(domain.utf8)
        info.u8(0)
        info.u16(number)
        self.init(
            unchecked: master.derive(info: info.bytes, count: DomainSecret.length),
            domain: domain,
            number: number
        )
    }

    /// Takes a secret that was handed over; `nil` unless it has 32 bytes and `number` is at least 1.
    package init?(secret: [UInt8], domain: String, number: UInt16) {
        guard secret.count == DomainSecret.length, number >= 1, DomainSecret.isDomain(domain) else { return nil }
        self.init(unchecked: secret, domain: domain, number: number)
    }

    private init(unchecked secret: [UInt8], domain: String, number: UInt16) {
        self.domain = domain
        self.number = number
        self.secret = secret
        let key = SymmetricKey(data: secret)
        gearTable = DomainSecret.words(KeyCrypto.hkdf(key, info: Array(label: "holdfast/1/gear"), count: 2048))
        bundleSeed = DomainSecret.words(KeyCrypto.hkdf(key, info: Array(label: "holdfast/1/bundle"), count: 8))[0]
        treeSeed = DomainSecret.words(KeyCrypto.hkdf(key, info: Array(label: "holdfast/1/tree"), count: 8))[0]
        extentsSeed = DomainSecret.words(KeyCrypto.hkdf(key, info: Array(label: "holdfast/1/extents"), count: 8))[0]
    }

    /// Tells sets of protected paths apart without saying which they are: the first 8 bytes of
    /// HMAC-SHA256(convergence secret, "holdfast/1/series" | paths in order, each followed by 0). Never 0.
    package func series(of paths: [[UInt8]]) -> UInt64 {
        var text = Array(label: "holdfast/1/series")
        for path in paths.sorted(by: { $0.lexicographicallyPrecedes($1) }) { text += path + [0] }
        let code = HMAC<SHA256>.authenticationCode(for: text, using: SymmetricKey(data: secret))
        return max(1, DomainSecret.words(Array(code))[0])
    }

    /// Whether `text` can name a domain: 1 to 255 bytes of visible ASCII.
    package static func isDomain(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }

    /// The bytes as little-endian words.
    private static func words(_ bytes: [UInt8]) -> [UInt64] {
        bytes.withUnsafeBytes { buffer in
            (0..<(buffer.count / 8)).map { index in
                UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
            }
        }
    }
}
