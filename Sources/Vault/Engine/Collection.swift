package import Model

/// What a collection is going to free, and what fills the vault. Made by marking, which changes nothing that anybody
/// relies on; carried out by `LocalVault.reclaim`.
package struct CollectionPlan: Sendable {
    /// Packs and bytes of one kind.
    package struct Amount: Hashable, Sendable {
        package var packs = 0
        package var bytes: UInt64 = 0
        package init() {}

        mutating func add(_ bytes: UInt64) {
            packs += 1
            self.bytes += bytes
        }
    }
    /// The generation whose marks the plan rests on.
    package var generation: UInt64
    /// Packs without anything that is needed: deleted as they are.
    package var dead = Amount()
    /// Packs of which little is needed, or that are small: what lives in them is copied into new packs first.
    package var rewritten = Amount()
    /// Bytes of those packs that are copied.
    package var copiedBytes: UInt64 = 0
    /// Bytes in packs that stay which nothing needs: too few in each pack to be worth copying the rest.
    package var leftBytes: UInt64 = 0
    /// All that lies in packs of classes data and meta.
    package var totalBytes: UInt64 = 0
    /// What is needed, by the machine (or writer) whose packs it lies in.
    package var liveBytesByOrigin: [WriterID: UInt64] = [:]
    /// The same for the machine's whole packs.
    package var bytesByOrigin: [WriterID: UInt64] = [:]
    /// Blobs that points name, themselves or further down, and that are lost: known only when damage is ignored.
    package var lost: [BlobID] = []
    /// An earlier collection was interrupted after it had decided; the plan is what is left to be done of that one.
    package var isUnfinished = false

    package init(generation: UInt64) { self.generation = generation }

    /// Bytes that the vault will be smaller by.
    package var freedBytes: UInt64 {
        let gone = dead.bytes + rewritten.bytes
        return gone > copiedBytes ? gone - copiedBytes : 0
    }
}

/// How a collection is carried out.
package struct CollectionOptions: Sendable {
    /// Goes on although references of a blob that is needed cannot be read, and what only it names may be freed with it.
    package var ignoresDamage = false
    /// Called between steps; throwing stops the collection, which goes on from there the next time.
    package var checkpoint: @Sendable () throws -> Void = {}

    package init() {}
}

/// What a collection did.
package struct CollectionReport: Sendable {
    package var deletedPacks = 0
    package var rewrittenPacks = 0
    package var newPacks = 0
    /// By how much the packs became smaller.
    package var freedBytes: UInt64 = 0
    package var lost: [BlobID] = []
    /// Packs that could not be read, when the store was looked through or when they were to be rewritten, with the reason.
    /// They stay as they are.
    package var unreadable: [(pack: PackName, reason: String)] = []
    /// Packs that were to be rewritten and were not: the disk has no room for the copies.
    package var leftForRoom = 0

    package init() {}
}

/// Collection: mark what is needed, raise the floor in one transaction, clear what is below it, delete and rewrite packs.
///
/// It never stops writers or readers, rests on no clock, and may be killed at any instant: every step begins from what the
/// catalog says. See `VaultCatalog` for the invariants; the steps are
///
/// 1. The generation is raised. From now on whatever a writer stores, names or is told to be present gets the new mark, and
///    goes on the frontier when it names others.
/// 2. From the roots (points, pins of leases, everything marked since the oldest live writer began) references are followed,
///    read from the packs.
/// 3. When the frontier is empty the floor is set. Everything at or above it is closed under references.
/// 4. Rows below the floor are cleared. Packs without rows are condemned, deleted, forgotten; packs with few are copied first.
extension LocalVault {
    /// Marks, and says what a collection would free. Deletes and moves nothing, not even what an earlier collection has
    /// decided to.
    ///
    /// - Throws: as `reclaim` would.
    package func planCollection(options: CollectionOptions = CollectionOptions()) throws -> CollectionPlan {
        guard let role = try guards.take(.collector) else { throw LocalVault.collectorBusy }
        defer { withExtendedLifetime(role) {} }
        return try withMaintenanceLease {
            try closeDeadLeases()
            try adoptUnknown()
            var position = try catalog.position()
            let isUnfinished = position.phase == .sweeping || position.phase == .reclaiming
            let lost = isUnfinished ? [] : try abandoning { try mark(options) }
            position = try catalog.position()
            var plan = CollectionPlan(generation: position.generation)
            plan.lost = lost
            plan.isUnfinished = isUnfinished
            var candidates: [PackEntry] = []
            try catalog.liveContents(threshold: isUnfinished ? position.floor : position.threshold) { pack in
                if pack.state == .condemned { plan.dead.add(pack.bytes) }
                guard pack.state == .stored, pack.packClass != .points else { return }
                plan.totalBytes += pack.bytes
                plan.bytesByOrigin[pack.origin, default: 0] += pack.bytes
                plan.liveBytesByOrigin[pack.origin, default: 0] += pack.liveBytes
                if pack.liveBlobs == 0 {
                    plan.dead.add(pack.bytes)
                } else if PackRewriting.isCandidate(pack) {
                    candidates.append(pack)
                } else {
                    plan.leftBytes += pack.unusedBytes
                }
            }
            let chosen = PackRewriting.groups(of: candidates).flatMap(\.self)
            for pack in chosen {
                plan.rewritten.add(pack.bytes)
                plan.copiedBytes += pack.liveBytes
            }
            let numbers = Set(chosen.map(\.number))
            for pack in candidates where !numbers.contains(pack.number) { plan.leftBytes += pack.unusedBytes }
            try catalog.abandonMarking()
            return plan
        }
    }

    /// Frees what nothing refers to. One process at a time; writers and readers go on.
    ///
    /// - Throws: `busy` when another process collects; `damaged` when references of something that is needed cannot be read
    ///   (nothing was freed then).
    package func reclaim(options: CollectionOptions = CollectionOptions()) throws -> CollectionReport {
        try config.check(operation: .delete)
        guard let role = try guards.take(.collector) else { throw LocalVault.collectorBusy }
        defer { withExtendedLifetime(role) {} }
        return try withReserve {
            try withMaintenanceLease {
                try closeDeadLeases()
                try owner?.confirm()
                // What the store has and nobody knows is freed with the rest.
                var report = CollectionReport()
                report.unreadable = try adoptUnknown().unreadable
                try finishPendingCollection(options, &report)
                try abandoning {
                    var lost = Set(try mark(options))
                    while try !catalog.finishMarking() { lost.formUnion(try followReferences(options)) }
                    report.lost = lost.sorted()
                }
                try sweepAndReclaim(options, &report)
                return report
            }
        }
    }

    private func withMaintenanceLease<R>(_ body: () throws -> R) throws -> R {
        let lease = LeaseEntry(id: .random(), kind: .maintenance, opened: clock())
        _ = try open(lease)
        defer { closeLease(lease.id) }
        return try body()
    }

    /// Takes up what a killed collection left behind its floor, and objects that were to be deleted: points whose packs
    /// still stand must not lose their blobs.
    private func finishPendingCollection(_ options: CollectionOptions, _ report: inout CollectionReport) throws {
        report.freedBytes += try deleteCondemned()
        let phase = try catalog.position().phase
        if phase == .sweeping || phase == .reclaiming { try sweepAndReclaim(options, &report) }
    }

    /// Gives the marking up when damage stops it: the next one begins with the points that are there then.
    private func abandoning<R>(_ body: () throws -> R) throws -> R {
        do { return try body() } catch let error as HoldfastError where error.code == .damaged {
            try catalog.abandonMarking()
            throw error
        }
    }

    // MARK: Marking

    /// Follows all references from the roots. Answers what is named and lost, which there is only when damage is ignored.
    private func mark(_ options: CollectionOptions) throws -> [BlobID] {
        // Points that nobody knows of may need anything.
        let gaps = try catalog.recordPacksWithGaps()
        if let pack = gaps.first {
            guard options.ignoresDamage else {
                throw LocalVault.hidden(
                    "\(gaps.count) packs that hold records of points, or may hold some, cannot be read in full, so that it "
                        + "cannot be seen what is needed",
                    ["pack": pack.name.hex])
            }
            try catalog.forgiveGaps(gaps.map(\.number))
        }
        if try catalog.unpropagatedDamage() != 0 { try propagateDamage() }
        _ = try catalog.beginMarking()
        while try catalog.seedRecentlyMarked(limit: VaultLimits.collectionBatch) { try options.checkpoint() }
        return try followReferences(options).sorted()
    }

    private func followReferences(_ options: CollectionOptions) throws -> Set<BlobID> {
        var lost: Set<BlobID> = []
        while true {
            try options.checkpoint()
            let batch = try catalog.frontier(limit: VaultLimits.collectionBatch)
            if batch.isEmpty { return lost }
            // In the order of the packs, so that the store is read forwards.
            let sorted = batch.sorted { a, b in
                (a.copies.first?.pack ?? 0, a.copies.first?.offset ?? 0)
                    < (b.copies.first?.pack ?? 0, b.copies.first?.offset ?? 0)
            }
            var expanded: [(blob: BlobID, references: [BlobID])] = []
            var count = 0
            for blob in sorted {
                if blob.copies.isEmpty { lost.insert(blob.id) }
                let names = try references(of: blob, options)
                expanded.append((blob.id, names))
                count += names.count
                // Bounded transactions: a node may name thousands.
                if count >= VaultLimits.collectionBatch {
                    try catalog.reach(expanded)
                    expanded = []
                    count = 0
                }
            }
            try catalog.reach(expanded)
        }
    }

    /// What the copies of a blob name. Every copy counts: a hostile writer may have sent one whose references are not
    /// those of the others.
    ///
    /// A blob without any copy is one that the catalog never knew, or forgot when it was rebuilt: nobody can say whether it
    /// named others, so it is treated like one that cannot be read. Lost data is known to be data, and stops nothing.
    private func references(of blob: FrontierBlob, _ options: CollectionOptions) throws -> [BlobID] {
        var names: Set<BlobID> = []
        // One whose contents were found to be false speaks for nobody.
        var readable = blob.copies.filter { $0.referenceCount == 0 && $0.condition != .falseContents }
        var hidden: [BlobCopy] = []
        var reason: (any Error)?
        for copy in blob.copies where copy.referenceCount > 0 {
            do {
                var found = try references(of: copy, checking: false)
                // A flipped bit in a reference makes a name that nothing has: then the checksum decides.
                if try !catalog.present(found).allSatisfy({ $0 }) { found = try references(of: copy, checking: true) }
                names.formUnion(found)
                if copy.condition != .falseContents { readable.append(copy) }
            } catch let error as HoldfastError where LocalVault.isAboutReading(error) {
                if error.code == .damaged { try catalog.setCondition(.damaged, of: [copy.reference]) }
                hidden.append(copy)
                reason = error
            }
        }
        // A copy that can be read speaks for one that cannot when it was opened once, or names as many: one that names
        // less may be a lie.
        let isSeen =
            !blob.copies.isEmpty
            && hidden.allSatisfy { copy in
                readable.contains { $0.referenceCount == copy.referenceCount || $0.checked.nanoseconds > 0 }
            }
        guard isSeen || options.ignoresDamage else {
            throw LocalVault.hidden(
                "part of a point is damaged or lost, so that it cannot be seen what it needs", ["blob": blob.id.hex],
                reason)
        }
        return names.sorted()
    }

    private static func hidden(
        _ what: String, _ context: [String: String], _ cause: (any Error)? = nil
    ) -> HoldfastError {
        HoldfastError(
            .damaged,
            "\(what); nothing was freed. `holdfast vault verify` names packs and points. Put back what is missing, or back "
                + "up again, or delete the damaged points; `vault reclaim --ignore-damage` gives up what lay below",
            context: context, cause: cause)
    }

    // MARK: Clearing

    private func sweepAndReclaim(_ options: CollectionOptions, _ report: inout CollectionReport) throws {
        while try catalog.sweep(limit: VaultLimits.collectionBatch) { try options.checkpoint() }
        let limit = try catalog.position().packLimit
        try reclaimDeadPacks(limit, options, &report)
        try rewritePacks(limit, options, &report)
        try unlessFull(0, &report) { _ in try mergeRecordPacks() }
        report.freedBytes += try deleteCondemned()
        try catalog.finishCollection()
    }

    /// Wholly dead packs first: they free room without taking any.
    private func reclaimDeadPacks(
        _ limit: Int64, _ options: CollectionOptions, _ report: inout CollectionReport
    ) throws {
        var pending = 0
        try forEachPack(upTo: limit) { pack in
            guard pack.packClass != .points, pack.liveBlobs == 0 else { return }
            try options.checkpoint()
            if try catalog.condemn(pack.number, listing: try blobIDs(of: pack)) {
                report.deletedPacks += 1
                pending += 1
                if pending >= 64 {
                    report.freedBytes += try deleteCondemned()
                    pending = 0
                }
            }
        }
        report.freedBytes += try deleteCondemned()
    }

    private func forEachPack(upTo limit: Int64, _ body: (PackEntry) throws -> Void) throws {
        var cursor: Int64 = 0
        while cursor < limit {
            let packs = try catalog.packs(after: cursor, limit: 256)
            guard let last = packs.last else { return }
            cursor = last.number
            for pack in packs where pack.state == .stored && pack.number <= limit { try body(pack) }
        }
    }

    /// All blobs of a pack: from its own list, or from the catalog when that cannot be read.
    private func blobIDs(of pack: PackEntry) throws -> [BlobID] {
        do {
            let listed = try PackIndexReader.read(pack.name, from: store, vault: vault).blobs
            if listed.count == pack.blobCount { return listed.map(\.id) }
        } catch let error as HoldfastError where LocalVault.isAboutReading(error) {
            // The catalog knows.
        }
        return try catalog.blobs(inPack: pack.number)
    }

    private func rewritePacks(_ limit: Int64, _ options: CollectionOptions, _ report: inout CollectionReport) throws {
        var candidates: [PackEntry] = []
        try forEachPack(upTo: limit) { pack in
            if pack.packClass != .points, pack.liveBlobs > 0, PackRewriting.isCandidate(pack) {
                candidates.append(pack)
            }
        }
        for group in PackRewriting.groups(of: candidates) {
            try unlessFull(group.count, &report) { report in
                var rewriting = PackRewriting(vault: self, packs: group)
                try rewriting.run(options, &report)
            }
        }
    }

    /// Runs work that needs room before it frees any. Where the reserve is not enough for it, it is left for another time:
    /// what could be freed without it is.
    private func unlessFull(
        _ packs: Int, _ report: inout CollectionReport, _ body: (inout CollectionReport) throws -> Void
    ) throws {
        do { try body(&report) } catch let error as HoldfastError where error.code == .noSpace {
            guard let reserve else { throw error }
            if reserve.makesRoom(for: error) {
                do { return try body(&report) } catch let error as HoldfastError where error.code == .noSpace {
                    // Not even with it.
                }
            }
            report.leftForRoom += packs
        }
    }

    /// Each commit writes a small pack: from time to time they become one. What stands in the way stays as it is.
    private func mergeRecordPacks() throws {
        var packs: [PackEntry] = []
        try forEachPack(upTo: .max) { pack in
            if pack.packClass == .points { packs.append(pack) }
        }
        let chosen = try RecordRewriting.mergeable(packs, in: self)
        if chosen.isEmpty { return }
        var rewriting = RecordRewriting(vault: self, change: RecordChange())
        do { try rewriting.run(chosen) } catch let error as HoldfastError where error.code == .busy {
            // The next collection finds them as they are.
        }
    }
}

extension PackEntry {
    /// Bytes that no live blob takes.
    var unusedBytes: UInt64 { bytes > liveBytes ? bytes - liveBytes : 0 }
}
