import Model

/// Copies the records of packs of class 3 into new packs, but for those about points that are deleted, and has the old packs
/// condemned.
///
/// What is damaged is carried along as it is where that is possible, so that nothing is given up that somebody might still
/// repair; what cannot be read at all is left behind, and its point is damaged from then on.
struct RecordRewriting {
    let vault: LocalVault
    private var change: RecordChange
    private let deleted: Set<[UInt8]>
    private var group: [Int64] = []
    private var hasChanged = false

    init(vault: LocalVault, change: RecordChange) {
        self.vault = vault
        self.change = change
        deleted = Set(change.deleting.map(\.array))
    }

    // MARK: Choice

    /// Packs that are worth merging, of those that are small: none unless they are many. A pack with a record that is not
    /// intact stays as it is.
    static func mergeable(_ packs: [PackEntry], in vault: LocalVault) throws -> [PackEntry] {
        let small = packs.filter { $0.packClass == .points && $0.bytes < UInt64(VaultLimits.smallPack) }
        guard small.count >= minimum else { return [] }
        let intact = try small.filter { pack in
            guard let bytes = try? vault.store.get(StoreKey.pack(pack.name), atMost: FormatLimits.packLength) else {
                return false
            }
            let scanned = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault.vault) }
            let rows = Set(try vault.catalog.records(inPack: pack.number).map(\.id))
            return scanned.lostBytes == 0 && scanned.blobs.count == pack.blobCount
                && rows == Set(scanned.blobs.map(\.id))
        }
        return intact.count >= minimum ? intact : []
    }

    /// Each commit writes a small pack; so many are merged at once.
    private static let minimum = 16

    // MARK: Copying

    /// Rewrites the packs. With points to be deleted the change is made even when no pack holds them any more.
    mutating func run(_ packs: [PackEntry]) throws {
        // A writer of its own in each header: the same records in the same order must not make a name that was condemned.
        var writer = RecordPackWriter(vault: vault.vault, writer: .random())
        for pack in packs {
            guard try copy(pack, into: &writer) else { continue }
            group.append(pack.number)
            if writer.byteCount >= FormatLimits.packTarget {
                try replace(with: writer)
                writer = RecordPackWriter(vault: vault.vault, writer: .random())
            }
        }
        if !group.isEmpty || (!hasChanged && !change.deleting.isEmpty) { try replace(with: writer) }
    }

    private mutating func replace(with writer: consuming RecordPackWriter) throws {
        var stored: StoredRecordPack?
        if !writer.isEmpty {
            let pack = try writer.finish()
            try vault.put(pack.sealed)
            stored = pack.stored
        }
        try vault.catalog.replaceRecordPacks(group, with: stored, change)
        group = []
        hasChanged = true
    }

    /// Answers `false` for a pack that is gone from the store.
    private mutating func copy(_ pack: PackEntry, into writer: inout RecordPackWriter) throws -> Bool {
        let rows = try vault.catalog.records(inPack: pack.number)
        var known: [BlobID: RecordLocation] = [:]
        for row in rows { known[row.id] = row }
        do {
            let bytes = try vault.store.get(StoreKey.pack(pack.name), atMost: FormatLimits.packLength)
            let found = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault.vault) }.blobs
            for blob in found {
                try bytes.withUnsafeBytes { buffer in
                    let framed = UnsafeRawBufferPointer(
                        rebasing: buffer[Int(blob.offset)..<Int(blob.range.upperBound)])
                    if isDeleted(known[blob.id], blob, framed) { return }
                    try writer.append(framed: framed, blob, as: known[blob.id])
                }
            }
            let intact = Set(found.map(\.id))
            for row in rows where !intact.contains(row.id) && !isDeleted(row) {
                let end = Int(row.offset) + row.length
                try carry(row, end <= bytes.count ? Array(bytes[Int(row.offset)..<end]) : nil, into: &writer)
            }
            return true
        } catch let error as HoldfastError where error.code == .notFound {
            guard try vault.isGone(pack.name) else { throw error }
            try vault.catalog.dropPacks([pack.number], forgetting: false)
            return false
        } catch let error as HoldfastError where error.code == .io || error.code == .damaged {
            // A bad sector: what lies beside it can be read.
            for row in rows where !isDeleted(row) {
                let range = row.offset..<(row.offset + UInt64(row.length))
                try carry(row, try? vault.store.get(StoreKey.pack(pack.name), range), into: &writer)
            }
            return true
        }
    }

    private func isDeleted(_ row: RecordLocation) -> Bool {
        (row.type == .point || row.type == .redaction) && deleted.contains(row.subject)
    }

    private func isDeleted(_ row: RecordLocation?, _ blob: PackedBlob, _ framed: UnsafeRawBufferPointer) -> Bool {
        if let row { return isDeleted(row) }
        guard blob.type == .point || blob.type == .redaction, !deleted.isEmpty,
            let entry = try? RecordEntry(blob, framed: framed)
        else { return false }
        return deleted.contains(entry.subject)
    }

    /// Takes a record that is not intact along, as far as its frame can be told.
    private mutating func carry(
        _ row: RecordLocation, _ framed: [UInt8]?, into writer: inout RecordPackWriter
    ) throws {
        let isCarried = try framed?.withUnsafeBytes { buffer in
            guard let frame = try? BlobFrame(buffer), frame.id == row.id, frame.type == row.type,
                frame.framedLength == buffer.count, let references = try? frame.references(in: buffer)
            else { return false }
            let blob = PackedBlob(
                id: frame.id, type: frame.type, encoding: frame.encoding, secretNumber: frame.secretNumber,
                references: references, sealedLength: UInt32(frame.sealedLength), offset: 0)
            try writer.append(framed: buffer, blob, as: row)
            return true
        }
        if isCarried != true { change.unreadable.insert(row.id) }
    }
}
