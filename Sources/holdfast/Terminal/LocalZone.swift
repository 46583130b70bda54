import Client
import Model

/// Time zones from the system's zone files.
enum LocalZone {
    /// The clocks of this machine; UTC when it does not say.
    static var current: TimeZoneRules { SystemZones.current }

    /// The zone with an IANA name; `nil` when there is none of that name here.
    static func load(_ name: String) -> TimeZoneRules? { SystemZones.load(name) }
}
