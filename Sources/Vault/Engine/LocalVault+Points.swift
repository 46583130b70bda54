package import Model

/// Deleting points, and holds that forbid it.
extension LocalVault {
    // MARK: Holds

    /// The holds of the vault, placed and released; of several records for one hold the one placed last counts.
    ///
    /// - Throws: `damaged` when the record that counts for a hold is damaged or lost: what it covers is not known then.
    package func holds() throws -> [HoldRecord.Content] {
        var result: [HoldID: HoldRecord.Content] = [:]
        var readable: Set<BlobID> = []
        let stored = try catalog.records(of: .hold)
        for location in stored where !readable.contains(location.id) {
            guard let hold = try content(of: location) else { continue }
            readable.insert(location.id)
            if let other = result[hold.hold], other.placed > hold.placed { continue }
            result[hold.hold] = hold
        }
        // An older record that cannot be read any more does not matter.
        for location in stored + (try catalog.lostRecords(of: .hold)) where !readable.contains(location.id) {
            let id = HoldID(location.subject)
            if let id, let known = result[id], known.placed > location.time { continue }
            throw HoldfastError(
                .damaged,
                "the record of hold \(id?.hex ?? "") is damaged or lost: until the vault's pack \(location.packName.hex) is put "
                    + "back, every point counts as held",
                context: ["hold": id?.hex ?? "", "pack": location.packName.hex])
        }
        return result.values.sorted { ($0.placed, $0.hold) < ($1.placed, $1.hold) }
    }

    /// The hold of one copy of its record; `nil` when the copy cannot be read.
    private func content(of location: RecordLocation) throws -> HoldRecord.Content? {
        do {
            return try withRecord(location) { try HoldRecord.decode($0) }.content
        } catch let error as HoldfastError
            where error.code == .damaged || error.code == .notFound || error.code == .io
        {
            return nil
        }
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
        LocalVault.objection(to: id, among: points, includesNewest: options.includesNewest)
    }

    /// The same for a vault that is elsewhere.
    package static func objection(
        to id: PointID, among points: [PointSummary], includesNewest: Bool
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
        if newest?.id == id, !includesNewest {
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
        // What the store holds of the points and the catalog does not know would bring them back one day.
        _ = try withReserve { try adoptUnknown() }
        // In this order: a hold that is placed after its record was not seen here stops the deletion.
        let holds = Set((try catalog.records(of: .hold) + catalog.lostRecords(of: .hold)).map(\.id))
        let points = try self.points(PointQuery())
        for id in Set(ids) {
            if let objection = objection(to: id, among: points, options: options) { throw objection }
        }
        try withReserve {
            let lease = LeaseEntry(id: .random(), kind: .maintenance, opened: clock())
            _ = try open(lease)
            defer { closeLease(lease.id) }
            var rewriting = RecordRewriting(vault: self, change: RecordChange(deleting: ids, holds: holds))
            try rewriting.run(try catalog.recordPacks(about: ids))
            try deleteCondemned()
        }
    }

    static var collectorBusy: HoldfastError {
        HoldfastError(
            .busy, "another process is deleting points or reclaiming space in this vault; wait until it has finished",
            isTemporary: true)
    }

    // MARK: Room

    /// Runs work that frees room; on a full disk the reserve is given back first, and taken again at the end.
    func withReserve<R>(_ body: () throws -> R) throws -> R {
        let reserve = store as? any SpaceReserve
        defer { _ = try? reserve?.createReserve() }
        do {
            return try body()
        } catch let error as HoldfastError where error.code == .noSpace {
            if let use = self.reserve {
                guard use.makesRoom(for: error) else { throw error }
            } else {
                guard let reserve, try reserve.releaseReserve() else { throw error }
            }
            return try body()
        }
    }
}
