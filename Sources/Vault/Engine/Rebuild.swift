package import Model
import Platform

/// What a rebuild of the catalog found.
package struct RebuildReport: Sendable {
    package var packs = 0
    package var points = 0
    /// Points that name something damaged or lost.
    package var damagedPoints: [PointID] = []
    /// Packs, or parts of them, that could not be read, with the reason.
    package var unreadable: [(pack: PackName, reason: String)] = []
    /// Records that are not signed as they must be.
    package var unsigned: [String] = []
    /// Breaks in the machines' histories; numbers that retention has deleted are none.
    package var chain: [String] = []
    package var seconds: Double = 0

    package init() {}
}

extension LocalVault {
    /// Fills an empty catalog from the store: lists of packs, references of what has any, points and machines. Needs no key,
    /// in every kind of vault. The stored bytes are not read as a whole; verification does that.
    ///
    /// - Parameter old: the catalog that was there before, when it can be read. What it knows of damage is taken over, or the
    ///   next backup would rely on what verification had found to be bad, and so is when packs were checked.
    package func rebuild(takingOverFrom old: (any VaultCatalog)? = nil) throws -> RebuildReport {
        let start = SystemClock.monotonic
        let found = try compare(looksForLost: true, checksNames: false)
        if let old {
            try takeOver(from: old)
        }
        var report = RebuildReport()
        report.packs = found.adopted
        report.points = found.pointsFound
        report.unreadable = found.unreadable
        report.unsigned = found.unsigned
        report.damagedPoints = try points(PointQuery()).filter { $0.condition == .damaged }.map(\.id)
        report.chain = try chainFindings()
        report.seconds = Double(SystemClock.monotonic - start) / 1e9
        return report
    }

    private func takeOver(from old: any VaultCatalog) throws {
        var cursor: CopyReference?
        while true {
            // The old catalog is what is being replaced: what cannot be read of it is not taken over.
            guard let batch = try? old.unwellCopies(after: cursor, limit: 1_024), let last = batch.last else { break }
            cursor = last.reference
            let bad = batch.filter(\.condition.isBad)
            let packs = try catalog.packs(bad.map(\.packName))
            for condition in [BlobCondition.damaged, .falseContents] {
                let copies = zip(bad, packs).compactMap { copy, pack -> CopyReference? in
                    guard let pack, copy.condition == condition else { return nil }
                    return CopyReference(id: copy.id, pack: pack.number)
                }
                try catalog.setCondition(condition, of: copies)
            }
        }
        var number: Int64 = 0
        while true {
            guard let batch = try? old.packs(after: number, limit: 1_024), let last = batch.last else { break }
            number = last.number
            for (pack, new) in zip(batch, try catalog.packs(batch.map(\.name))) {
                guard let new else { continue }
                for (level, date) in [
                    (VerificationLevel.structure, pack.checkedStructure), (.packs, pack.checkedPack),
                    (.data, pack.checkedData),
                ] where date.nanoseconds > 0 {
                    try catalog.setChecked(new.number, level: level, at: date)
                }
            }
        }
        if try catalog.unpropagatedDamage() != 0 { try propagateDamage() }
    }

    /// Faults in the machines' histories, in words.
    package func chainFindings() throws -> [String] {
        let points = try catalog.points(PointQuery(), now: clock())
        return Dictionary(grouping: points, by: \.machine).sorted { $0.key < $1.key }.flatMap { machine, points in
            let links = points.map {
                PointChain.Link(
                    incarnation: $0.incarnation, number: $0.number, point: $0.id, hash: $0.hash, previous: $0.previous)
            }
            return PointChain.check(links).filter(\.isFault).map { "machine \(machine.hex): \($0)" }
        }
    }
}
