package import Model
import Platform

/// What of a vault is checked, and how deeply.
package struct VerificationRequest: Sendable {
    package var level: VerificationLevel = .structure
    /// The part of the packs that is checked, by bytes: above 0 and at most 1. Those checked longest ago come first.
    package var sample: Double = 1
    /// Only packs that were not checked at this level for so long, in nanoseconds.
    package var notCheckedFor: Int64?
    /// Needed for level `data`; with them damage is also reported by path.
    package var keys: VaultKeys?
    /// Called with the bytes that were checked since the last call, and those still to be checked at first; throwing stops.
    package var progress: @Sendable (_ checked: UInt64, _ total: UInt64) throws -> Void = { _, _ in }

    package init(level: VerificationLevel = .structure) { self.level = level }
}

/// What a verification found. Damage that was known before is reported again.
package struct VerificationReport: Sendable {
    package var level: VerificationLevel = .structure
    /// Packs chosen and checked at the level.
    package var checkedPacks = 0
    package var checkedBytes: UInt64 = 0
    /// Blobs opened and compared with their content keys.
    package var checkedBlobs = 0
    /// Packs that are gone from the store.
    package var lostPacks: [PackName] = []
    /// Packs whose bytes do not match their name or whose form is not right.
    package var damagedPacks: [(pack: PackName, reason: String)] = []
    /// Copies that this run found to be damaged and that were thought to be whole.
    package var foundBlobs = 0
    /// Copies of blobs that are damaged, and blobs that name something damaged or lost.
    package var damagedBlobs = 0
    package var incompleteBlobs = 0
    /// Points that name something damaged or lost, themselves or further down, with the paths when keys were given.
    package var damagedPoints: [DamagedPoint] = []
    /// Breaks in the machines' histories, records without the signature they must have.
    package var findings: [String] = []
    package var seconds: Double = 0

    package init() {}

    /// Nothing that a point needs is damaged, nothing was found to be damaged that another copy stands for, and the records
    /// are in order.
    package var isSound: Bool {
        foundBlobs == 0 && lostPacks.isEmpty && damagedPacks.isEmpty && damagedPoints.isEmpty && findings.isEmpty
    }
}

/// A point that cannot be restored in full.
package struct DamagedPoint: Hashable, Sendable {
    package var point: PointID
    package var machine: MachineID
    package var time: Timestamp
    /// The paths that are touched; empty when no key was given.
    package var paths: [TreePath] = []
    /// There are more paths than are listed.
    package var hasMorePaths = false

    package init(point: PointID, machine: MachineID, time: Timestamp) {
        self.point = point
        self.machine = machine
        self.time = time
    }
}

extension LocalVault {
    /// Checks the vault. Writers, readers and collections may go on meanwhile.
    ///
    /// Damage that is found is recorded: readers use other copies, points say that they are damaged, and the next backup of
    /// a machine that still has the contents sends them again.
    ///
    /// - Throws: `keyNeeded` for level `data` without keys.
    package func verify(_ request: VerificationRequest) throws -> VerificationReport {
        if request.level == .data, request.keys == nil {
            throw HoldfastError(.keyNeeded, "opening every blob needs the vault's passphrase or key sheet")
        }
        let start = SystemClock.monotonic
        let now = clock()
        var report = VerificationReport()
        report.level = request.level
        // Packs that are gone, or that the catalog does not know, come first: everything else rests on them.
        let comparison = try compare(looksForLost: true)
        report.lostPacks = comparison.lost
        report.damagedPacks = comparison.unreadable.map { ($0.pack, $0.reason) }
        report.findings = comparison.unsigned + (try chainFindings())
        report.findings += try recordFindings(request.level == .structure ? [.machine, .hold] : RecordCoding.types)

        let chosen = try choose(request, now: now)
        let total = chosen.reduce(0) { $0 + $1.bytes }
        switch request.level {
        case .structure: try checkStructure(now, &report)
        case .packs: try checkPacks(chosen, total, now, request, &report)
        case .data: try checkData(chosen, total, now, request, &report)
        }
        if try catalog.unpropagatedDamage() != 0 { try propagateDamage() }
        try reviewIncomplete()
        (report.damagedBlobs, report.incompleteBlobs) = try catalog.unwellCounts()
        report.damagedPoints = try damagedPoints(request.keys)
        report.seconds = Double(SystemClock.monotonic - start) / 1e9
        return report
    }

    /// The packs to be checked: those checked longest ago first, up to the sample.
    private func choose(_ request: VerificationRequest, now: Timestamp) throws -> [PackEntry] {
        var all: [PackEntry] = []
        var total: UInt64 = 0
        var cursor: Int64 = 0
        func date(_ pack: PackEntry) -> Timestamp {
            switch request.level {
            case .structure: pack.checkedStructure
            case .packs: pack.checkedPack
            case .data: pack.checkedData
            }
        }
        while true {
            let packs = try catalog.packs(after: cursor, limit: 1_024)
            guard let last = packs.last else { break }
            cursor = last.number
            for pack in packs where pack.state == .stored {
                total += pack.bytes
                if let age = request.notCheckedFor, date(pack) > now.advanced(by: age == .min ? .max : -age) {
                    continue
                }
                all.append(pack)
            }
        }
        guard request.sample < 1 else { return all }
        all.sort { (date($0), $0.name) < (date($1), $1.name) }
        let limit = UInt64(Double(total) * max(0, request.sample))
        var taken: UInt64 = 0
        var chosen: [PackEntry] = []
        for pack in all where taken < limit || chosen.isEmpty {
            taken += pack.bytes
            chosen.append(pack)
        }
        return chosen.sorted { $0.number < $1.number }
    }

    // MARK: Structure

    private func checkStructure(_ now: Timestamp, _ report: inout VerificationReport) throws {
        var packs = 0
        var bytes: UInt64 = 0
        try propagateDamage { pack in
            try self.catalog.setChecked(pack.number, level: .structure, at: now)
            packs += 1
            bytes += pack.bytes
        }
        report.checkedPacks = packs
        report.checkedBytes = bytes
    }

    // MARK: Packs

    private func checkPacks(
        _ chosen: [PackEntry], _ total: UInt64, _ now: Timestamp, _ request: VerificationRequest,
        _ report: inout VerificationReport
    ) throws {
        let suspects = try damagedCopies()
        for pack in chosen {
            let isKnown = report.damagedPacks.contains { $0.pack == pack.name }
            if let reason = try checkPack(pack, suspects: suspects[pack.number] ?? [], &report), !isKnown {
                report.damagedPacks.append((pack.name, reason))
            }
            try catalog.setChecked(pack.number, level: .packs, at: now)
            report.checkedPacks += 1
            report.checkedBytes += pack.bytes
            try request.progress(pack.bytes, total)
        }
    }

    /// Copies whose bytes are recorded as damaged, by pack. What has false contents is none: its bytes may be all right.
    private func damagedCopies() throws -> [Int64: [BlobCopy]] {
        var result: [Int64: [BlobCopy]] = [:]
        var cursor: CopyReference?
        while true {
            let batch = try catalog.unwellCopies(after: cursor, limit: 1_024)
            guard let last = batch.last else { return result }
            cursor = last.reference
            for copy in batch where copy.condition == .damaged { result[copy.pack, default: []].append(copy) }
        }
    }

    /// Compares a pack's bytes with its name; what is wrong is recorded. Answers the reason when something is.
    ///
    /// - Parameter suspects: the pack's copies that are recorded as damaged: bytes that are right acquit them.
    private func checkPack(
        _ pack: PackEntry, suspects: [BlobCopy], _ report: inout VerificationReport
    ) throws -> String? {
        let bytes: [UInt8]
        do {
            bytes = try store.get(StoreKey.pack(pack.name), atMost: FormatLimits.packLength)
        } catch let error as HoldfastError where error.code == .notFound {
            // Removed by a collection meanwhile, or gone.
            guard try isGone(pack.name), try catalog.pack(pack.name)?.state == .stored else { return nil }
            try catalog.dropPacks([pack.number], forgetting: false)
            return "it is gone from the store"
        } catch let error as HoldfastError where error.code == .damaged || error.code == .io {
            if pack.packClass == .points { return "it cannot be read: \(error.message)" }
            let lost = try unreadableCopies(of: pack, &report)
            return "\(lost) of its \(pack.blobCount) blobs cannot be read: \(error.message)"
        }
        if bytes.withUnsafeBytes({ BlobCrypto.packName(of: $0) }) == pack.name {
            // An error of memory or of a cable, not of the disk. What they name may still be lost: that is looked at next.
            try catalog.setCondition(.whole, of: suspects.filter { $0.referenceCount == 0 }.map(\.reference))
            try catalog.setCondition(.incomplete, of: suspects.filter { $0.referenceCount > 0 }.map(\.reference))
            return nil
        }
        let scanned = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault) }
        guard pack.packClass != .points else {
            return "its bytes changed; \(scanned.lostBytes) bytes with records of points are damaged"
        }
        let intact = Set(scanned.blobs.map(\.id))
        let damaged = try blobs(ofDamaged: pack).filter { !intact.contains($0) }
        report.foundBlobs += try catalog.setCondition(
            .damaged, of: damaged.map { CopyReference(id: $0, pack: pack.number) })
        return "its bytes changed; \(damaged.count) of its \(pack.blobCount) blobs are damaged"
    }

    /// Tries the blobs of a pack that cannot be read as a whole, one by one, and records those that cannot be read.
    private func unreadableCopies(of pack: PackEntry, _ report: inout VerificationReport) throws -> Int {
        let ids = try blobs(ofDamaged: pack)
        var lost: [CopyReference] = []
        for start in stride(from: 0, to: ids.count, by: VaultLimits.missingBatch) {
            let batch = Array(ids[start..<min(start + VaultLimits.missingBatch, ids.count)])
            for copy in try catalog.copies(of: batch) where copy.pack == pack.number {
                do {
                    let framed = try store.get(StoreKey.pack(pack.name), copy.range)
                    try framed.withUnsafeBytes { try LocalVault.check($0, is: copy) }
                } catch is HoldfastError {
                    lost.append(copy.reference)
                }
            }
        }
        report.foundBlobs += try catalog.setCondition(.damaged, of: lost)
        return lost.count
    }

    // MARK: Records

    /// Records that cannot be read, in words. Each is looked at where the catalog says that it lies.
    private func recordFindings(_ types: [BlobType]) throws -> [String] {
        var findings: [String] = []
        for type in types {
            for location in try catalog.records(of: type) {
                do {
                    try withRecord(location) { body in
                        switch type {
                        case .machine: try MachineRecord.decode(body).verify(with: config.signing)
                        case .hold: try HoldRecord.decode(body).verify(with: config.signing)
                        case .redaction: try RedactionRecord.decode(body).verify(with: config.signing)
                        default: _ = try SealedPoint.decode(body)
                        }
                    }
                } catch let error as HoldfastError where [.damaged, .notFound, .io].contains(error.code) {
                    // A deletion may have moved it meanwhile.
                    guard try catalog.records(of: type).contains(location) else { continue }
                    findings.append(LocalVault.finding(type, Hex.encode(location.subject), error))
                }
            }
        }
        return findings
    }

    private static func finding(_ type: BlobType, _ subject: String, _ error: HoldfastError) -> String {
        switch type {
        case .machine:
            "a record of machine \(subject) cannot be read; run `holdfast vault join` on that machine (\(error.message))"
        case .hold:
            "hold \(subject) cannot be read, so that nothing can be deleted; place it again (\(error.message))"
        case .redaction: "a redaction of point \(subject) cannot be read (\(error.message))"
        default: "the record of point \(subject) cannot be read (\(error.message))"
        }
    }

    // MARK: Points

    private func damagedPoints(_ keys: VaultKeys?) throws -> [DamagedPoint] {
        try points(PointQuery()).filter { $0.condition == .damaged }.map { point in
            var damaged = DamagedPoint(point: point.id, machine: point.machine, time: point.time)
            if let keys {
                var finder = DamagedPathFinder(vault: self)
                try finder.search(point.id, keys: keys)
                damaged.paths = finder.paths.sorted { $0.key.lexicographicallyPrecedes($1.key) }
                damaged.hasMorePaths = finder.isFull
            }
            return damaged
        }
    }
}
