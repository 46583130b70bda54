import Model
import Platform

/// Time zones from the system's zone files.
enum LocalZone {
    /// The clocks of this machine; UTC when it does not say.
    static var current: TimeZoneRules { load(Machine.timeZoneName) ?? .utc }

    /// The zone with an IANA name; `nil` when there is none of that name here.
    static func load(_ name: String) -> TimeZoneRules? {
        if name == "UTC" || name == "Etc/UTC" { return .utc }
        let isPlain = name.utf8.allSatisfy {
            (0x61...0x7A).contains($0 | 0x20) || (0x30...0x39).contains($0) || "/_+-".utf8.contains($0)
        }
        guard isPlain, !name.isEmpty, !name.hasPrefix("/"),
            let file = try? DirectoryPath.openFile(
                Array("/usr/share/zoneinfo/\(name)".utf8), [.readOnly, .followLink]),
            let bytes = try? file.readAll(limit: 1 << 20)
        else { return nil }
        return TimeZoneRules(identifier: name, tzif: bytes)
    }
}
