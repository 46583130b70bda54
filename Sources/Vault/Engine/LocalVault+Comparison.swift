import Glibc
package import Model

/// Comparing store and catalog. The store is the truth; what it has and the catalog does not know is adopted, never
/// removed.
extension LocalVault {
    /// What a comparison found and did.
    package struct Comparison: Sendable {
        /// Packs that the catalog did not know and now does.
        package var adopted = 0
        /// Packs that the catalog knew and that are gone from the store.
        package var lost: [PackName] = []
        /// Packs that could not be read at all, with the reason.
        package var unreadable: [(pack: PackName, reason: String)] = []
        /// Points that were found.
        package var pointsFound = 0
        /// Records whose signature is not right; they are not relied upon.
        package var unsigned: [String] = []
    }

    /// Compares when the catalog is not the one that worked last, or when a killed process may have left packs behind.
    func compareIfNeeded() throws {
        func isCurrent() throws -> Bool {
            try catalogAge().age == .current && catalog.agreesWithWitness()
        }
        let agrees = try isCurrent()
        let left = try closeDeadLeases()
        guard !agrees || left else { return }
        let role = try waitForComparison()
        defer { withExtendedLifetime(role) {} }
        // Another process may have compared while we waited.
        if !left, try isCurrent() { return }
        let result = try compareAlone(looksForLost: !agrees, checksNames: true)
        if result.adopted > 0 {
            addNote("\(result.adopted) packs that the catalog did not know were found and registered")
        }
        if !result.lost.isEmpty {
            addNote(
                "\(result.lost.count) packs that the catalog knew are gone from the vault; run `holdfast vault verify` "
                    + "to see what is touched")
        }
        for (pack, reason) in result.unreadable { addNote("pack \(pack.hex) cannot be read: \(reason)") }
        for text in result.unsigned { addNote(text) }
    }

    /// Compares all packs of the store with the catalog: registers those that the catalog does not know, drops the rows of
    /// those that are gone, and works out anew what is whole.
    @discardableResult
    package func compare(looksForLost: Bool = true, checksNames: Bool = true) throws -> Comparison {
        let role = try waitForComparison()
        defer { withExtendedLifetime(role) {} }
        return try compareAlone(looksForLost: looksForLost, checksNames: checksNames)
    }

    /// Registers what the store has and the catalog does not know: what a power cut took from the catalog, or a process that
    /// failed between the two.
    @discardableResult
    func adoptUnknown() throws -> Comparison { try compare(looksForLost: false) }

    /// Says when points may be missing from the list: whoever looks at it must know.
    func noteGaps() throws {
        let gaps = try catalog.recordPacksWithGaps().count
        if gaps == 0 { return }
        addNote(
            "\(gaps) packs that hold records of points, or may hold some, cannot be read in full: points may be missing, and "
                + "`holdfast vault reclaim` frees nothing. `holdfast vault verify` names the packs; put them back from "
                + "lost+found or from a copy of the vault if you can")
    }

    private func waitForComparison() throws -> any HeldRole {
        while true {
            if let role = try guards.take(.comparison) { return role }
            usleep(20_000)
        }
    }

    private func compareAlone(looksForLost: Bool, checksNames: Bool) throws -> Comparison {
        try owner?.confirm()
        let lease = LeaseEntry(id: .random(), kind: .adoption, opened: clock())
        _ = try open(lease)
        defer { closeLease(lease.id) }

        // What a catalog misses that is older than deletions was removed since, as far as anybody can tell; what any other
        // misses is lost. The witness says nothing about that: a power cut, too, makes it disagree.
        let (age, stored, own) = try catalogAge()
        var result = Comparison()
        var unknown: [PackName] = []
        var seen = 0
        // Packs registered while the store is listed may or may not be listed: they are not missed.
        let before = try packCount()
        var batch: [PackName] = []
        func look() throws {
            for (name, known) in zip(batch, try catalog.packs(batch)) {
                if let known, known.state != .lost {
                    if known.state == .stored, known.number <= before.last { seen += 1 }
                } else {
                    unknown.append(name)
                }
            }
            batch.removeAll(keepingCapacity: true)
        }
        try store.list(StoreKey.packsPrefix) { object in
            if let name = StoreKey.packName(of: object.key) { batch.append(name) }
            if batch.count >= 1_024 { try look() }
            return true
        }
        try look()
        // What could not be read of records when they were found may be readable now.
        unknown += try catalog.recordPacksWithGaps().map(\.name)
        try adopt(unknown.sorted(), checksNames: checksNames, &result)
        if looksForLost {
            if seen < before.count { try dropLostPacks(upTo: before.last, forgetting: age == .older, &result) }
            try settle(stored: stored, own: own)
        }
        if try catalog.unwellCounts().incomplete > 0 || !result.lost.isEmpty { try reviewIncomplete() }
        if try catalog.unpropagatedDamage() != 0 { try propagateDamage() }
        return result
    }

    private func packCount() throws -> (count: Int, last: Int64) {
        var result = (count: 0, last: Int64(0))
        while true {
            let packs = try catalog.packs(after: result.last, limit: 1_024)
            guard let last = packs.last else { return result }
            result.count += packs.count { $0.state == .stored }
            result.last = last.number
        }
    }

    private func dropLostPacks(upTo limit: Int64, forgetting: Bool, _ result: inout Comparison) throws {
        var cursor: Int64 = 0
        var gone: [PackEntry] = []
        while true {
            let packs = try catalog.packs(after: cursor, limit: 1_024)
            guard let last = packs.last, cursor < limit else { break }
            for pack in packs where pack.state == .stored && pack.number <= limit {
                if try isGone(pack.name) { gone.append(pack) }
            }
            cursor = last.number
        }
        // A collection may have removed one of them meanwhile: then it is no longer listed as stored.
        let lost = try gone.filter { try catalog.pack($0.name)?.state == .stored }
        // Packs that the new owner's collection has removed are not lost.
        try owner?.confirm()
        try catalog.dropPacks(lost.map(\.number), forgetting: forgetting)
        result.lost += lost.map(\.name)
    }

    /// Whether a pack is not in the store although the store is there: a drive that was pulled out loses every pack at
    /// once, and comes back with all of them.
    func isGone(_ name: PackName) throws -> Bool {
        for _ in 0..<3 {
            if try store.contains(StoreKey.pack(name)) { return false }
            guard try store.contains(StoreKey.config) else {
                throw HoldfastError(
                    .notFound, "the vault \(store.location) has no config.json any more; is its drive still mounted?",
                    context: ["vault": store.location])
            }
        }
        return true
    }

    // MARK: What is whole

    /// Looks again at blobs that name something that was not whole, until nothing changes: what they name may have been
    /// sent again meanwhile.
    func reviewIncomplete() throws {
        var changedAny = false
        while true {
            var changed = 0
            var cursor: CopyReference?
            while true {
                let batch = try catalog.unwellCopies(after: cursor, limit: 1_024)
                guard let last = batch.last else { break }
                cursor = last.reference
                var healed: [CopyReference] = []
                let incomplete = batch.filter { $0.condition == .incomplete }
                for copy in incomplete.sorted(by: { ($0.pack, $0.offset) < ($1.pack, $1.offset) }) {
                    guard let names = try? references(of: copy, checking: false) else { continue }
                    if try catalog.present(names).allSatisfy({ $0 }) { healed.append(copy.reference) }
                }
                changed += try catalog.setCondition(.whole, of: healed)
            }
            if changed == 0 { break }
            changedAny = true
        }
        if changedAny { try reviewPoints() }
    }

    /// Works out which blobs name, themselves or further down, something that is damaged or lost. Reads the references of
    /// all packs of class meta; that is the check of structure.
    ///
    /// - Parameter visit: told of each pack that was checked.
    func propagateDamage(_ visit: (PackEntry) throws -> Void = { _ in }) throws {
        let damage = try catalog.unpropagatedDamage()
        var isFirst = true
        while true {
            var changed = 0
            var cursor: Int64 = 0
            while true {
                let packs = try catalog.packs(after: cursor, limit: 256)
                guard let last = packs.last else { break }
                cursor = last.number
                for pack in packs where pack.packClass == .meta && pack.state == .stored {
                    changed += try reviewPack(pack)
                    if isFirst { try visit(pack) }
                }
            }
            isFirst = false
            if changed == 0 { break }
        }
        try reviewPoints()
        try catalog.setDamagePropagated(damage)
    }

    /// Sets the conditions of a pack's blobs from what they name. Answers how many changed.
    private func reviewPack(_ pack: PackEntry) throws -> Int {
        let blobs: [PackedBlob]
        do {
            blobs = try PackIndexReader.read(pack.name, from: store, vault: vault).blobs
        } catch let error as HoldfastError where isAboutThePack(error) {
            if error.code == .notFound {
                // Gone, or removed by a collection since it was listed.
                guard try isGone(pack.name), try catalog.pack(pack.name)?.state == .stored else { return 0 }
                try catalog.dropPacks([pack.number], forgetting: false)
                return 1
            }
            if error.code == .io { return try reviewUnreadablePack(pack) }
            return try reviewDamagedPack(pack)
        }
        return try review(blobs.map { ($0.id, $0.references) }, of: pack)
    }

    /// All blobs of a pack that is damaged: from its end when that is whole. The catalog is not ordered by packs, and asking it
    /// costs a search through all of it.
    func blobs(ofDamaged pack: PackEntry) throws -> [BlobID] {
        if let listed = PackIndexReader.ids(of: pack.name, pack.packClass, in: store), listed.count == pack.blobCount {
            return listed
        }
        return try catalog.blobs(inPack: pack.number)
    }

    /// The same for a pack of which some sectors cannot be read: blob by blob.
    private func reviewUnreadablePack(_ pack: PackEntry) throws -> Int {
        let ids = try blobs(ofDamaged: pack)
        var lost: [CopyReference] = []
        var read: [(id: BlobID, references: [BlobID])] = []
        for start in stride(from: 0, to: ids.count, by: VaultLimits.missingBatch) {
            let batch = Array(ids[start..<min(start + VaultLimits.missingBatch, ids.count)])
            for copy in try catalog.copies(of: batch) where copy.pack == pack.number {
                do { read.append((copy.id, try references(of: copy, checking: false))) } catch is HoldfastError {
                    lost.append(copy.reference)
                }
            }
        }
        return try catalog.setCondition(.damaged, of: lost) + review(read, of: pack)
    }

    /// Sets the conditions of blobs of a pack from what they name. Answers how many changed.
    private func review(_ blobs: [(id: BlobID, references: [BlobID])], of pack: PackEntry) throws -> Int {
        var changed = 0
        for start in stride(from: 0, to: blobs.count, by: 256) {
            let batch = blobs[start..<min(start + 256, blobs.count)].filter { !$0.references.isEmpty }
            var names = Set(batch.flatMap(\.references))
            let list = Array(names)
            names.removeAll()
            for (name, isPresent) in zip(list, try catalog.present(list)) where isPresent { names.insert(name) }
            // Blobs of this batch may name each other: those found incomplete here are looked at again in the next round.
            let states = Dictionary(
                try catalog.copies(of: batch.map(\.id)).filter { $0.pack == pack.number }.map { ($0.id, $0.condition) },
                uniquingKeysWith: { a, _ in a })
            var whole: [CopyReference] = []
            var incomplete: [CopyReference] = []
            for blob in batch {
                guard let state = states[blob.id], !state.isBad else { continue }
                let isWhole = blob.references.allSatisfy { names.contains($0) }
                if isWhole, state == .incomplete { whole.append(CopyReference(id: blob.id, pack: pack.number)) }
                if !isWhole, state == .whole { incomplete.append(CopyReference(id: blob.id, pack: pack.number)) }
            }
            changed += try catalog.setCondition(.whole, of: whole)
            changed += try catalog.setCondition(.incomplete, of: incomplete)
        }
        return changed
    }

    /// A pack whose list cannot be read: what the scanner finds is kept, everything else in it is damaged.
    func reviewDamagedPack(_ pack: PackEntry) throws -> Int {
        let bytes = try store.get(StoreKey.pack(pack.name), atMost: FormatLimits.packLength)
        let found = Set(bytes.withUnsafeBytes { PackReader.scan($0, vault: vault) }.blobs.map(\.id))
        let lost = try blobs(ofDamaged: pack).filter { !found.contains($0) }
        return try catalog.setCondition(.damaged, of: lost.map { CopyReference(id: $0, pack: pack.number) })
    }

    /// Sets the conditions of all points from those of what they name.
    func reviewPoints() throws {
        var whole: [PointID] = []
        var damaged: [PointID] = []
        for point in try catalog.points(PointQuery(), now: clock()) where point.condition != .outOfChain {
            let isWhole = try catalog.present(point.references).allSatisfy { $0 }
            if isWhole, point.condition == .damaged { whole.append(point.id) }
            if !isWhole, point.condition == .whole { damaged.append(point.id) }
        }
        try catalog.setCondition(.whole, of: whole)
        try catalog.setCondition(.damaged, of: damaged)
    }

    /// The blobs below `names` that are damaged or lost, and the nodes above them. Proportional to the damage.
    func damaged(below names: [BlobID]) throws -> [BlobID] {
        if try catalog.unpropagatedDamage() != 0 { try propagateDamage() }
        // Without any damage in the vault only what is lost altogether could be found, and nothing is lost without
        // leaving something incomplete above it, or the point itself damaged.
        if try catalog.present(names).allSatisfy({ $0 }) { return [] }
        var found: Set<BlobID> = []
        var stack = names
        while let id = stack.popLast() {
            let copies = try catalog.copies(of: [id])
            if copies.contains(where: { $0.condition == .whole }) || found.contains(id) { continue }
            found.insert(id)
            for copy in copies where copy.condition == .incomplete {
                if let below = try? references(of: copy, checking: false) { stack += below }
            }
        }
        return found.sorted()
    }
}
