package import Model

/// Deleting points, and holds that forbid it.
extension LocalVault {
    // MARK: Holds

    /// The holds of the vault, placed and released; of several records for one hold the one placed last counts.
    package func holds() throws -> [HoldRecord.Content] {
        var result: [HoldID: HoldRecord.Content] = [:]
        for location in try catalog.records(of: .hold) {
            let hold = try withRecord(location) { try HoldRecord.decode($0) }.content
            if let other = result[hold.hold], other.placed > hold.placed { continue }
            result[hold.hold] = hold
        }
        return result.values.sorted { ($0.placed, $0.hold) < ($1.placed, $1.hold) }
    }

    /// Places or releases a hold. The record must be signed by the vault.
    package func add(_ hold: HoldRecord) throws {
        try config.check(operation: .write)
        try hold.verify(with: config.signing)
        try owner?.confirm()
        var records = RecordPackWriter(vault: vault, writer: .random())
        try records.append(hold)
        try add(records.finish())
    }

    // MARK: Deletion

    /// What the deletion of points may do.
    package struct DeletionOptions: Sendable {
        /// The machine is retired: its newest complete point may go too.
        package var includesNewest = false
        package init(includesNewest: Bool = false) { self.includesNewest = includesNewest }
    }

    /// Why a point cannot be deleted; `nil` when it can.
    package func objection(
        to id: PointID, among points: [PointSummary], options: DeletionOptions = DeletionOptions()
    ) -> HoldfastError? {
        guard let point = points.first(where: { $0.id == id }) else {
            return HoldfastError(.notFound, "there is no recovery point \(id.hex)", context: ["point": id.hex])
        }
        if point.isHeld {
            return HoldfastError(
                .forbidden, "point \(id.hex) is under a hold; nothing deletes it until the hold is released",
                context: ["point": id.hex])
        }
        let newest = points.last { $0.machine == point.machine && $0.isSound && $0.kind != .checkpoint }
        if newest?.id == id, !options.includesNewest {
            return HoldfastError(
                .forbidden, "point \(id.hex) is the newest complete point of its machine; it is kept",
                context: ["point": id.hex])
        }
        return nil
    }

    /// Deletes points. All or none: what may not be deleted refuses the whole call. The space is freed by a collection.
    ///
    /// Packs of points are rewritten without them, new ones first; when the call returns the old ones are gone from the
    /// store, so that even a catalog that is rebuilt from it does not know the points any more.
    ///
    /// - Throws: `notFound`, `forbidden`, `busy`.
    package func deletePoints(_ ids: [PointID], options: DeletionOptions = DeletionOptions()) throws {
        if ids.isEmpty { return }
        try config.check(operation: .delete)
        guard let role = try guards.take(.collector) else { throw LocalVault.collectorBusy }
        defer { withExtendedLifetime(role) {} }
        try owner?.confirm()
        let points = try self.points(PointQuery())
        for id in Set(ids) {
            if let objection = objection(to: id, among: points, options: options) { throw objection }
        }
        try withReserve {
            let lease = LeaseEntry(id: .random(), kind: .maintenance, opened: clock())
            _ = try open(lease)
            defer { closeLease(lease.id) }
            var packs: Set<Int64> = []
            for id in ids {
                if let location = try catalog.record(of: id) { packs.insert(location.pack) }
            }
            try rewriteRecordPacks(packs.sorted(), deleting: ids)
            try deleteCondemned()
        }
    }

    static var collectorBusy: HoldfastError {
        HoldfastError(
            .busy, "another process is deleting points or reclaiming space in this vault; wait until it has finished",
            isTemporary: true)
    }

    /// Copies the records of the packs into new packs, but for those of the points, and condemns the old ones.
    func rewriteRecordPacks(_ packs: [Int64], deleting points: [PointID]) throws {
        let gone = Set(points.map(\.array))
        var group: [Int64] = []
        // A writer of its own in each header: the same records in the same order must not make a name that was condemned.
        var writer = RecordPackWriter(vault: vault, writer: .random())
        for pack in packs {
            for location in try catalog.records(inPack: pack) {
                if location.type == .point || location.type == .redaction, gone.contains(location.subject) { continue }
                let end = location.offset + UInt64(location.length)
                let framed = try store.get(StoreKey.pack(location.packName), location.offset..<end)
                try framed.withUnsafeBytes { buffer in
                    let frame = try BlobFrame(buffer)
                    guard frame.id == location.id, frame.isIntact(buffer) else {
                        throw HoldfastError(
                            .damaged,
                            "a record beside the points to be deleted is damaged; run `holdfast vault verify`",
                            context: ["pack": location.packName.hex])
                    }
                    let blob = PackedBlob(
                        id: frame.id, type: frame.type, encoding: frame.encoding, secretNumber: frame.secretNumber,
                        references: try frame.references(in: buffer), sealedLength: UInt32(frame.sealedLength),
                        offset: 0)
                    try writer.append(framed: buffer, blob)
                }
            }
            group.append(pack)
            if writer.byteCount >= FormatLimits.packTarget {
                try replaceRecordPacks(group, with: writer, deleting: points)
                group = []
                writer = RecordPackWriter(vault: vault, writer: .random())
            }
        }
        if !group.isEmpty { try replaceRecordPacks(group, with: writer, deleting: points) }
    }

    private func replaceRecordPacks(
        _ old: [Int64], with writer: consuming RecordPackWriter, deleting points: [PointID]
    ) throws {
        var stored: StoredRecordPack?
        if !writer.isEmpty {
            let pack = try writer.finish()
            try put(pack.sealed)
            stored = pack.stored
        }
        // Points whose record lies in a later group go with that group.
        let packs = Set(old)
        let here = try points.filter { id in try catalog.record(of: id).map { packs.contains($0.pack) } ?? false }
        try catalog.replaceRecordPacks(old, with: stored, deleting: here)
    }

    // MARK: Room

    /// Runs work that frees room; on a full disk the reserve is given back first, and taken again at the end.
    func withReserve<R>(_ body: () throws -> R) throws -> R {
        let reserve = store as? any SpaceReserve
        defer { _ = try? reserve?.createReserve() }
        do {
            return try body()
        } catch let error as HoldfastError where error.code == .noSpace {
            guard let reserve, try reserve.releaseReserve() else { throw error }
            return try body()
        }
    }

    /// Deletes the objects of condemned packs. Only packs that this vault condemned are ever deleted.
    @discardableResult
    func deleteCondemned() throws -> UInt64 {
        try owner?.confirm()
        var freed: UInt64 = 0
        let condemned = try catalog.condemnedPacks()
        for start in stride(from: 0, to: condemned.count, by: 64) {
            let batch = condemned[start..<min(start + 64, condemned.count)]
            try store.delete(batch.map { StoreKey.pack($0.name) })
            try catalog.packsDeleted(batch.map(\.number))
            freed += batch.reduce(0) { $0 + $1.bytes }
        }
        return freed
    }
}
