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
        let agrees = try catalog.agreesWithWitness()
        let left = try closeDeadLeases()
        guard !agrees || left else { return }
        let role = try waitForComparison()
        defer { withExtendedLifetime(role) {} }
        // Another process may have compared while we waited.
        if !left, try catalog.agreesWithWitness() { return }
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

    private func waitForComparison() throws -> any HeldRole {
        while true {
            if let role = try guards.take(.comparison) { return role }
            usleep(20_000)
        }
    }

    private func compareAlone(looksForLost: Bool, checksNames: Bool) throws -> Comparison {
        let lease = LeaseEntry(id: .random(), kind: .maintenance, opened: clock())
        _ = try open(lease)
        defer { closeLease(lease.id) }

        var result = Comparison()
        var unknown: [PackName] = []
        var seen = 0
        // Packs registered while the store is listed may or may not be listed: they are not missed.
        let before = try packCount()
        try store.list(StoreKey.packsPrefix) { object in
            guard let name = StoreKey.packName(of: object.key) else { return true }
            if let known = try catalog.pack(name) {
                if known.state == .stored, known.number <= before.last { seen += 1 }
            } else {
                unknown.append(name)
            }
            return true
        }
        try adopt(unknown.sorted(), checksNames: checksNames, &result)
        if looksForLost {
            if seen < before.count { try dropLostPacks(upTo: before.last, &result) }
            try catalog.renewWitness()
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

    private func dropLostPacks(upTo limit: Int64, _ result: inout Comparison) throws {
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
        try catalog.dropPacks(lost.map(\.number))
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

    // MARK: Adoption

    /// Registers packs that were found in the store: data first, then what names it, then points.
    func adopt(_ names: [PackName], checksNames: Bool, _ result: inout Comparison) throws {
        var meta: [(name: PackName, size: UInt64)] = []
        var records: [(name: PackName, size: UInt64)] = []
        for name in names {
            guard let size = try store.head(StoreKey.pack(name)) else { continue }
            do {
                switch try packClass(of: name, size: size) {
                case .data: try adoptBlobs(name, size: size, checksName: checksNames, &result)
                case .meta: meta.append((name, size))
                case .points: records.append((name, size))
                }
            } catch let error as HoldfastError where LocalVault.isAboutThePack(error) {
                result.unreadable.append((name, error.message))
            }
        }
        for (name, size) in meta {
            do {
                try adoptBlobs(name, size: size, checksName: checksNames, &result)
            } catch let error as HoldfastError where LocalVault.isAboutThePack(error) {
                result.unreadable.append((name, error.message))
            }
        }
        if !meta.isEmpty { try reviewIncomplete() }
        try adoptRecords(records, &result)
    }

    /// Whether an error says something about one pack and not about store or catalog as a whole.
    private static func isAboutThePack(_ error: HoldfastError) -> Bool {
        error.code == .damaged || error.code == .unsupported || error.code == .notFound || error.code == .condemned
    }

    private func packClass(of name: PackName, size: UInt64) throws -> PackClass {
        guard size >= UInt64(PackHeader.length) else { throw ByteReader.malformed("cut short") }
        let bytes = try store.get(StoreKey.pack(name), 0..<UInt64(PackHeader.length))
        let header = try bytes.withUnsafeBytes { try PackHeader($0) }
        guard header.vault == vault else {
            throw HoldfastError(.damaged, "it belongs to another vault", context: ["vault": header.vault.hex])
        }
        return header.packClass
    }

    private func adoptBlobs(_ name: PackName, size: UInt64, checksName: Bool, _ result: inout Comparison) throws {
        var isIntact = true
        if checksName {
            let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
            isIntact = bytes.withUnsafeBytes { BlobCrypto.packName(of: $0) } == name
        }
        if isIntact {
            do {
                let pack = try PackIndexReader.read(name, from: store, vault: vault)
                try register(pack.blobs, of: name, pack.header, size: size)
                result.adopted += 1
                return
            } catch let error as HoldfastError where error.code == .damaged {
                // What is left of it is looked for below.
            }
        }
        let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
        let scanned = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault) }
        guard let header = scanned.header, !scanned.blobs.isEmpty else {
            throw HoldfastError(.damaged, "it is damaged, and nothing in it could be saved")
        }
        try register(scanned.blobs, of: name, header, size: size)
        result.adopted += 1
        result.unreadable.append(
            (
                name,
                "it is damaged; \(scanned.blobs.count) of its blobs could be saved, \(scanned.lostBytes) bytes are lost"
            ))
    }

    private func register(_ blobs: [PackedBlob], of name: PackName, _ header: PackHeader, size: UInt64) throws {
        let entry = PackEntry(
            name: name, packClass: header.packClass, origin: header.writer, bytes: size, blobCount: blobs.count)
        try catalog.register(entry, blobs: blobs, lease: nil)
    }

    /// Points are relied upon only when the machine's key says so, and machines only when the vault's key does.
    private func adoptRecords(_ packs: [(name: PackName, size: UInt64)], _ result: inout Comparison) throws {
        var stored: [StoredRecordPack] = []
        var points: [(id: PointID, bytes: SealedPoint)] = []
        for (name, size) in packs {
            do {
                let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
                let pack = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault) }
                guard let header = pack.header else { throw ByteReader.malformed("header of a pack") }
                var entries: [RecordEntry] = []
                for blob in pack.blobs where blob.type.packClass == .points {
                    try bytes.withUnsafeBytes { buffer in
                        let framed = UnsafeRawBufferPointer(
                            rebasing: buffer[Int(blob.offset)..<Int(blob.range.upperBound)])
                        let entry = try RecordEntry(blob, framed: framed)
                        if let text = try flaw(of: blob, framed: framed) {
                            result.unsigned.append(text)
                            return
                        }
                        if blob.type == .point {
                            let point = try SealedPoint.decode(BlobOpener.record(framed, expecting: .point))
                            points.append((point.locator.point, point))
                        }
                        entries.append(entry)
                    }
                }
                if pack.lostBytes > 0 {
                    result.unreadable.append(
                        (name, "\(pack.lostBytes) bytes of it, with records of points, are damaged"))
                }
                let entry = PackEntry(
                    name: name, packClass: .points, origin: header.writer, bytes: size, blobCount: pack.blobs.count)
                stored.append(StoredRecordPack(pack: entry, records: entries))
                result.adopted += 1
            } catch let error as HoldfastError where LocalVault.isAboutThePack(error) {
                result.unreadable.append((name, error.message))
            }
        }
        // Machines before points, points in the order of their numbers, redactions after the points that they change.
        func rank(_ pack: StoredRecordPack) -> (Int, UInt64) {
            let types = Set(pack.records.map(\.type))
            if types.contains(.redaction) { return (2, 0) }
            return (types.contains(.point) ? 1 : 0, pack.records.compactMap(\.point?.number).min() ?? 0)
        }
        for pack in stored.sorted(by: { rank($0) < rank($1) }) { try catalog.adopt(pack, now: clock()) }
        result.pointsFound += points.count
        try checkSignatures(of: points, &result)
        if !points.isEmpty { try reviewPoints() }
    }

    /// What is wrong with a record that the vault itself must have signed; `nil` for a sound one.
    private func flaw(of blob: PackedBlob, framed: UnsafeRawBufferPointer) throws -> String? {
        let body = try BlobOpener.record(framed, expecting: blob.type)
        do {
            switch blob.type {
            case .machine: try MachineRecord.decode(body).verify(with: config.signing)
            case .hold: try HoldRecord.decode(body).verify(with: config.signing)
            case .redaction: try RedactionRecord.decode(body).verify(with: config.signing)
            default: break
            }
            return nil
        } catch let error as HoldfastError where error.code == .damaged {
            return "a record found in the vault is not relied upon: \(error.message)"
        }
    }

    private func checkSignatures(of points: [(id: PointID, bytes: SealedPoint)], _ result: inout Comparison) throws {
        if points.isEmpty { return }
        var machines: [MachineID: [MachineRecord]] = [:]
        var forged: [PointID] = []
        for (id, point) in points {
            let machine = point.locator.machine
            if machines[machine] == nil { machines[machine] = try machineRecords(of: machine) }
            guard let records = machines[machine], !records.isEmpty else {
                result.unsigned.append("point \(id.hex) is of a machine that the vault does not know")
                continue
            }
            do { try point.verify(withAnyOf: records, of: config.signing) } catch {
                result.unsigned.append("point \(id.hex) is not signed by its machine")
                forged.append(id)
            }
        }
        try catalog.setCondition(.outOfChain, of: forged)
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
        } catch let error as HoldfastError where LocalVault.isAboutThePack(error) {
            if error.code == .notFound {
                // Gone, or removed by a collection since it was listed.
                guard try isGone(pack.name), try catalog.pack(pack.name)?.state == .stored else { return 0 }
                try catalog.dropPacks([pack.number])
                return 1
            }
            return try reviewDamagedPack(pack)
        }
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
                guard let state = states[blob.id], state != .damaged else { continue }
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
        let lost = try catalog.blobs(inPack: pack.number).filter { !found.contains($0) }
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
