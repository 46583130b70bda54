import Glibc
import Model
import Testing

@testable import Vault

/// Bytes that never change again: what version 1 wrote, every later version reads, and writes the same way as long as it
/// says version 1. Made with fixed keys and a fixed nonce; `scripts/read-vault.py` and other readers can be checked
/// against them too.
@Suite struct SealingGoldenTests {
    private static let convergence = (0..<32).map { UInt8($0) }
    private static let nonce = (0..<12).map { UInt8(0xA0 + $0) }

    @Test("keys and names are derived as the format says")
    func derivation() {
        let deriver = BlobKeyDeriver(convergence: SealingGoldenTests.convergence, number: 1)
        let plain = Array("holdfast".utf8)
        let key = plain.withUnsafeBytes { deriver.contentKey(.data, $0) }
        let other = plain.withUnsafeBytes { deriver.contentKey(.node, $0) }
        let record = plain.withUnsafeBytes { BlobCrypto.recordID(type: .point, body: $0) }
        // Computed with Python's hmac and hashlib from docs/vault-format.md.
        #expect(key.hex == "10f57084fade5bbe63443b83495e6bd522270fe25b432b4ca421e720ceb5f730")
        #expect(other.hex == "099f4738fd53b714f1e91a14f2f3c8e993fad378a3726286645b8620c316e57b")
        #expect(BlobCrypto.id(of: key).hex == "f37857fd1758fd1626c7b33c03eb0722574c3089d869062db9fac4279b65b3a6")
        #expect(
            Hex.encode(BlobCrypto.sealingKey(of: key).array)
                == "4df091cd75ed0ad949fa8a852ca34817b5ccf3a8f12eb3e98df71323b27cbec1")
        #expect(record.hex == "28ce0aa412919cde756f89bbb4d22641b9eda2dc46b16ade90ef7e26f9f93176")
    }

    @Test("packs are the bytes that version 1 wrote", arguments: ["data", "meta", "points"])
    func packs(name: String) throws {
        let bytes = try SealingGoldenTests.pack(name)
        try Golden.compare(bytes, "pack-\(name).hex")
        // And they are read.
        let pack = try SealedPack(parsing: bytes, vault: SamplePack.vault)
        #expect(pack.blobs.count == (name == "meta" ? 3 : name == "data" ? 3 : 4))
    }

    /// zstd may compress otherwise in another version, so what is sealed here is raw.
    private static func pack(_ name: String) throws -> [UInt8] {
        if name == "points" { return try SamplePack.records().bytes }
        let deriver = BlobKeyDeriver(convergence: convergence, number: 3)
        let sealer = BlobSealer(compression: .none, fixedNonce: nonce)
        var builder = PackBuilder(
            vault: SamplePack.vault, writer: SamplePack.writer, packClass: name == "data" ? .data : .meta)
        let types: [BlobType] = name == "data" ? [.data, .data, .data] : [.node, .extents, .delta]
        let references = (1...3).map { BlobID(Bytes32(w0: UInt64($0) << 56, w1: 0, w2: 0, w3: UInt64($0))) }
        for (index, type) in types.enumerated() {
            let plain =
                Array("the \(index). blob of \(name)".utf8) + [UInt8](repeating: UInt8(index), count: index * 10)
            try plain.withUnsafeBytes { plain in
                let key = deriver.contentKey(type, plain)
                var out: [UInt8] = []
                let blob = try sealer.seal(
                    type: type, key: key, id: BlobCrypto.id(of: key), secretNumber: 3,
                    references: name == "data" ? [] : Array(references[..<(index + 1)]), plain: plain, into: &out)
                try builder.append(from: out, blob)
            }
        }
        return try builder.finish().bytes
    }

    @Test("a compressed blob of version 1 opens")
    func compressed() throws {
        let framed = try Golden.read("blob-zstd.hex")
        let deriver = BlobKeyDeriver(convergence: SealingGoldenTests.convergence, number: 1)
        let plain = Array(String(repeating: "nobody is locked in. ", count: 40).utf8)
        let key = plain.withUnsafeBytes { deriver.contentKey(.data, $0) }
        let opened = try framed.withUnsafeBytes {
            try BlobOpener().openVerified($0, key: key, expecting: .data, derivers: [deriver]) { Array($0) }
        }
        #expect(opened == plain)
        #expect(framed.count < plain.count)
    }

    @Test("sealing compresses with zstd, and the result is the kind of blob that the golden one is")
    func compressedAgain() throws {
        let deriver = BlobKeyDeriver(convergence: SealingGoldenTests.convergence, number: 1)
        let plain = Array(String(repeating: "nobody is locked in. ", count: 40).utf8)
        let sealer = BlobSealer(compression: .fast, fixedNonce: SealingGoldenTests.nonce)
        var out: [UInt8] = []
        try plain.withUnsafeBytes { plain in
            let key = deriver.contentKey(.data, plain)
            _ = try sealer.seal(
                type: .data, key: key, id: BlobCrypto.id(of: key), secretNumber: 1, references: [], plain: plain,
                into: &out)
        }
        if Golden.isRecording { try Golden.compare(out, "blob-zstd.hex") }
        #expect(out[5] == BlobEncoding.zstd.rawValue)
    }
}

/// Files under Golden/: hexadecimal, 64 digits a line. `RECORD_GOLDEN=1` writes those that are missing into the source
/// tree, and fails the test so that nobody records by mistake.
enum Golden {
    struct Missing: Error {}

    static var isRecording: Bool { getenv("RECORD_GOLDEN") != nil }

    private static func path(_ name: String, source: String = #filePath) -> String {
        let parts = source.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast(2).joined(separator: "/") + "/Golden/\(name)"
    }

    static func read(_ name: String) throws -> [UInt8] {
        guard let file = fopen(path(name), "r") else { throw Missing() }
        defer { fclose(file) }
        var text: [UInt8] = []
        var byte = fgetc(file)
        while byte != EOF {
            if byte > 0x20 { text.append(UInt8(byte)) }
            byte = fgetc(file)
        }
        guard let bytes = Hex.decode(String(decoding: text, as: UTF8.self)) else { throw Missing() }
        return bytes
    }

    static func compare(_ bytes: [UInt8], _ name: String) throws {
        if let golden = try? read(name) {
            let difference = zip(golden, bytes).enumerated().first { $0.element.0 != $0.element.1 }?.offset
            #expect(golden == bytes, "\(name) differs from byte \(difference ?? min(golden.count, bytes.count))")
            return
        }
        if isRecording, let file = fopen(path(name), "w") {
            for start in stride(from: 0, to: bytes.count, by: 32) {
                fputs(Hex.encode(bytes[start..<min(start + 32, bytes.count)]) + "\n", file)
            }
            fclose(file)
        }
        Issue.record("\(name) did not exist; recorded: \(isRecording)")
    }
}
