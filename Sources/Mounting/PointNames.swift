package import Model
package import Vault

/// The points of one machine under the names that they have in the file system. A value: what a directory lists does not change
/// while it is listed.
package final class PointNames: Sendable {
    /// What stands under a name.
    package enum Meaning: Hashable, Sendable {
        /// The point at this place of the list.
        case point(Int)
        /// A symbolic link to a point's name.
        case link([UInt8])
    }

    /// By the vault's times, oldest first.
    package let points: [PointSummary]
    /// Of the points, in the same order.
    package let names: [[UInt8]]
    private let places: [[UInt8]: Int]
    private let byID: [String: Int]
    private let candidates: [PointSelector.Candidate]
    private let zone: TimeZoneRules

    /// The link to the newest point.
    package static let latest = Array("latest".utf8)

    /// - Parameter points: oldest first.
    package init(_ points: [PointSummary], zone: TimeZoneRules) {
        self.points = points
        self.zone = zone
        candidates = points.map(\.candidate)
        var names = points.map { Self.name($0.effective, zone) }
        var places: [[UInt8]: Int] = [:]
        // Of several points of one second, also of one hour that the clocks show twice, the newest has the plain name, which is
        // what the time means everywhere else; the others are told apart by their ids.
        for index in points.indices.reversed() {
            if places[names[index]] != nil { names[index] += Array("~\(points[index].shortID)".utf8) }
            places[names[index]] = index
        }
        self.names = names
        self.places = places
        byID = Dictionary(points.indices.map { (points[$0].shortID, $0) }) { $1 }
    }

    /// `2026-11-20T10:15:00`, by the clocks of the zone.
    package static func name(_ time: Timestamp, _ zone: TimeZoneRules) -> [UInt8] {
        TimeText.local(time, in: zone).utf8.map { $0 == UInt8(ascii: " ") ? UInt8(ascii: "T") : $0 }
    }

    /// The point that `latest` means: the newest complete one, as everywhere.
    package var newest: Int? { index(.latest) }

    /// What a name means; `nil` for one that means nothing. Times that no point has, in the format of the list, to the minute or of
    /// a day, are links to the newest point that is not later.
    package func meaning(of name: [UInt8], now: Timestamp) -> Meaning? {
        if let place = places[name] { return .point(place) }
        if name == Self.latest { return newest.map { .link(names[$0]) } }
        guard name.count <= 40, let text = String(validating: name, as: UTF8.self) else { return nil }
        let parts = text.split(separator: "~", omittingEmptySubsequences: false)
        guard let first = parts.first, Self.isTime(first.utf8) else { return nil }
        if parts.count == 2 {
            // A name that a point had while others of its second were there, or has not got because they went.
            guard let place = byID[String(parts[1])], Self.name(points[place].effective, zone) == Array(first.utf8)
            else { return nil }
            return .link(names[place])
        }
        guard parts.count == 1, let time = WrittenTime(String(first), now: now, zone: zone),
            let place = index(.time(time))
        else { return nil }
        return .link(names[place])
    }

    private func index(_ selector: PointSelector) -> Int? {
        guard let chosen = try? selector.select(from: candidates) else { return nil }
        // Found from the end: what is asked for is mostly young.
        return points.lastIndex { $0.id == chosen.id }
    }

    /// `2026-11-20`, `2026-11-20T10:15` or `2026-11-20T10:15:00`.
    static func isTime(_ text: some Collection<UInt8>) -> Bool {
        let pattern = Array("0000-00-00T00:00:00".utf8)
        guard [10, 16, 19].contains(text.count) else { return false }
        return zip(text, pattern).allSatisfy { byte, sample in
            sample == UInt8(ascii: "0") ? (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) : byte == sample
        }
    }
}

/// The machines of a vault under the names that they have in the file system.
package struct MachineNames: Sendable {
    /// In the order in which the machines joined.
    package private(set) var machines: [(id: MachineID, name: [UInt8])] = []
    private var places: [[UInt8]: Int] = [:]

    package init() {}

    /// - Parameter known: what each machine calls itself, and when it joined; empty for one of which nothing is known.
    package init(_ known: [MachineID: (name: String, joined: Timestamp)]) {
        // Who joins later does not take a name away: nobody is to find another machine's files under a name that they know.
        let order = known.sorted { a, b in
            a.value.joined != b.value.joined ? a.value.joined < b.value.joined : a.key < b.key
        }
        for (id, machine) in order {
            let short = String(id.hex.prefix(8))
            var name = Array(machine.name.utf8)
            if !TreePath.isName(name) { name = Array(short.utf8) }
            if places[name] != nil { name = Array(name.prefix(246)) + Array("~\(short)".utf8) }
            if places[name] != nil { name = Array(id.hex.utf8) }
            places[name] = machines.count
            machines.append((id, name))
        }
    }

    package func machine(named name: [UInt8]) -> MachineID? { places[name].map { machines[$0].id } }
    package func name(of machine: MachineID) -> [UInt8]? { machines.first { $0.id == machine }?.name }
}
