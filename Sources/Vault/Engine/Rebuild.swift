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
    package func rebuild() throws -> RebuildReport {
        let start = SystemClock.monotonic
        let found = try compare(looksForLost: true, checksNames: false)
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
