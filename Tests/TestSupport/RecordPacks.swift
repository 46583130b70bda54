package import Model
package import Vault

/// Packs of class 3 as a process would write them that was killed before the catalog knew, or as somebody would who has the
/// directory of the vault.
package enum RecordPacks {
    /// A pack with the records of all given packs, verbatim.
    package static func merged(_ names: some Sequence<PackName>, of vault: LocalVault) throws -> SealedPack {
        var builder = PackBuilder(vault: vault.vault, writer: .random(), packClass: .points)
        for name in names {
            let bytes = try vault.store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
            for blob in bytes.withUnsafeBytes({ PackReader.scan($0, vault: vault.vault) }).blobs
            where !builder.contains(blob.id) {
                try builder.append(from: bytes, blob)
            }
        }
        return try builder.finish()
    }

    /// A pack with one record.
    package static func pack(_ type: BlobType, _ body: [UInt8], _ names: [BlobID], vault: VaultID) throws -> SealedPack
    {
        var framed: [UInt8] = []
        let blob = try body.withUnsafeBytes {
            try BlobSealer.frame(record: type, body: $0, references: names, into: &framed)
        }
        var builder = PackBuilder(vault: vault, writer: .random(), packClass: .points)
        try framed.withUnsafeBytes { _ = try builder.append($0, blob) }
        return try builder.finish()
    }

    /// A point as a vault stores it, with the arrival that it gave it.
    package static func pack(_ point: SealedPoint, arrival: Timestamp) throws -> SealedPack {
        var point = point
        point.arrival = arrival
        return try pack(.point, point.encoded(), point.locator.references, vault: point.locator.vault)
    }

    package static func pack(_ redaction: RedactionRecord, vault: VaultID) throws -> SealedPack {
        try pack(.redaction, redaction.encoded(), redaction.references, vault: vault)
    }

    /// The names of the stored packs of class 3.
    package static func names(in vault: LocalVault) throws -> [PackName] {
        try vault.catalog.packs(after: 0, limit: 100_000).filter { $0.packClass == .points && $0.state == .stored }
            .map(\.name)
    }
}

/// A store that tells before each change.
package final class WatchedStore: BlobStore {
    private let base: any BlobStore
    private let before: @Sendable (_ key: String) throws -> Void

    package init(_ base: any BlobStore, before: @escaping @Sendable (_ key: String) throws -> Void) {
        self.base = base
        self.before = before
    }

    package var location: String { base.location }
    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        try before(key)
        return try base.put(key, bytes, mode: mode)
    }
    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] { try base.get(key, atMost: limit) }
    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(key, at: offset, into: buffer)
    }
    package func head(_ key: String) throws -> UInt64? { try base.head(key) }
    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws { try base.list(prefix, body) }
    package func delete(_ keys: [String]) throws {
        for key in keys { try before(key) }
        try base.delete(keys)
    }
    package func space() throws -> StoreSpace? { try base.space() }
}

/// A store on a disk with bad sectors: reading some places fails, for good.
package final class BadSectorStore: BlobStore {
    private let base: any BlobStore
    private let isBad: @Sendable (_ key: String, _ offset: UInt64) -> Bool

    package init(_ base: any BlobStore, isBad: @escaping @Sendable (_ key: String, _ offset: UInt64) -> Bool) {
        self.base = base
        self.isBad = isBad
    }

    private func check(_ key: String, _ offset: UInt64 = 0) throws {
        if isBad(key, offset) { throw HoldfastError(.io, "cannot read \(key): Input/output error") }
    }

    package var location: String { base.location }
    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        try base.put(key, bytes, mode: mode)
    }
    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        try check(key)
        return try base.get(key, atMost: limit)
    }
    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try check(key, offset)
        try base.read(key, at: offset, into: buffer)
    }
    package func head(_ key: String) throws -> UInt64? { try base.head(key) }
    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws { try base.list(prefix, body) }
    package func delete(_ keys: [String]) throws { try base.delete(keys) }
    package func space() throws -> StoreSpace? { try base.space() }
}
