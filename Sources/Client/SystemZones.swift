package import Model
import Platform
package import Policy

/// Time zones from the system's zone files.
package enum SystemZones {
    /// The clocks of this machine; UTC when it does not say.
    package static var current: TimeZoneRules { load(Machine.timeZoneName) ?? .utc }

    /// The zone with an IANA name; `nil` when there is none of that name here.
    package static func load(_ name: String) -> TimeZoneRules? {
        if name == "UTC" || name == "Etc/UTC" { return .utc }
        let isPlain = name.utf8.allSatisfy {
            (0x61...0x7A).contains($0 | 0x20) || (0x30...0x39).contains($0) || "/_+-".utf8.contains($0)
        }
        guard isPlain, !name.isEmpty, name.utf8.count <= 128, !name.hasPrefix("/"),
            let file = try? DirectoryPath.openFile(
                Array("/usr/share/zoneinfo/\(name)".utf8), [.readOnly, .followLink]),
            let bytes = try? file.readAll(limit: 1 << 20)
        else { return nil }
        return TimeZoneRules(identifier: name, tzif: bytes)
    }

    /// The names of the system's own list.
    package static var names: [String] {
        guard
            let file = try? DirectoryPath.openFile(
                Array("/usr/share/zoneinfo/tzdata.zi".utf8), [.readOnly, .followLink]),
            let bytes = try? file.readAll(limit: 4 << 20)
        else { return [] }
        // `Z Europe/London ...` begins a zone, `L Europe/London GB` names another for it.
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            if words.count > 1, words[0] == "Z" { return String(words[1]) }
            return words.count > 2 && words[0] == "L" ? String(words[2]) : nil
        }
    }

    /// What policies are checked with.
    package static let source = ZoneSource(load: { load($0) }, names: { names })

    /// As `source`, and takes zones that this system does not have: a machine whose list of zones is old must not give up
    /// the rest of its policy. Times of such a zone then mean the machine's own clock.
    package static let lenient = ZoneSource(load: { load($0) ?? .utc })
}
