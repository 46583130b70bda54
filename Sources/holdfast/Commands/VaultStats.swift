import ArgumentParser
import Catalog
import Client
import Model
import Vault

/// `holdfast vault stats`
struct VaultStats: Command {
    static let configuration = CommandConfiguration(
        commandName: "stats",
        abstract: "What the vault holds, in numbers.",
        usage: "holdfast vault stats [<options>]",
        discussion: """
            Example:
              holdfast vault stats --json
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let overview = try session.administration().overview()
        let (config, statistics, space) = (overview.config, overview.statistics, overview.space)
        var fields: [String: JSON] = [
            "vault": .id(config.vault), "kind": .string(config.kind.rawValue), "created": .time(config.created),
            "format": .integer(1), "points": .count(statistics.points), "machines": .count(statistics.machines),
            "damaged_blobs": .count(statistics.damaged), "incomplete_blobs": .count(statistics.incomplete),
            "condemned_bytes": .count(statistics.condemnedBytes),
            "machine_bytes": .object(
                Dictionary(
                    uniqueKeysWithValues: statistics.bytesByOrigin.map { origin, bytes in
                        (MachineID(high: origin.high, low: origin.low).hex, JSON.count(bytes))
                    })),
        ]
        for (name, part) in [("data", statistics.data), ("meta", statistics.meta), ("records", statistics.records)] {
            fields[name] = .object([
                "packs": .count(part.packs), "bytes": .count(part.bytes), "blobs": .count(part.blobs),
            ])
        }
        if let space {
            fields["space"] = .object(["total": .count(space.total), "available": .count(space.available)])
        }
        fields.setBytes("location", session.path)
        try console.emit("stats", fields)
        if console.isJSON { return .done }

        let created = TimeText.local(config.created, in: console.zone)
        try console.line(
            "Vault \(config.vault.hex.prefix(8)) in \(session.name), \(config.kind.rawValue), made \(created)")
        try console.line(
            "\(Units.count(statistics.points, "point")) of \(Units.count(statistics.machines, "machine"))")
        var table = Table(("", .left), ("packs", .right), ("size", .right), ("blobs", .right))
        for (name, part) in [
            ("contents", statistics.data), ("trees", statistics.meta), ("points and records", statistics.records),
        ] {
            table.add(name, Units.count(part.packs), Units.size(part.bytes), Units.count(part.blobs))
        }
        try console.table(table)
        if let space {
            try console.line("\(Units.size(space.available)) of \(Units.size(space.total)) are free on its file system")
        }
        if statistics.damaged + statistics.incomplete > 0 {
            console.warn(
                "\(Units.count(statistics.damaged, "blob")) known to be damaged, \(statistics.incomplete) incomplete; "
                    + "`holdfast vault verify` names the points.")
        }
        return .done
    }
}

/// `holdfast vault rebuild`
struct VaultRebuild: Command {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Make the catalog anew from the packs.",
        usage: "holdfast vault rebuild [<options>]",
        discussion: """
            The catalog is an index; everything it knows stands in the packs. Needed when it was lost or is damaged, which \
            opening the vault notices on its own. Nobody may use the vault meanwhile. Needs no passphrase.

            Example:
              holdfast vault rebuild --vault /mnt/disk/vault
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let path = try location.location()
        let report: RebuildReport
        if ServerAddress.isServer(String(decoding: path, as: UTF8.self)) {
            report = try VaultSession(console, location, global).administration().rebuild()
        } else {
            var options = VaultDirectory.Options()
            options.takesOver = location.takeOver
            report = try VaultDirectory.rebuild(path: path, options: options)
        }
        let findings = report.unsigned + report.chain
        try console.emit(
            "rebuild",
            [
                "packs": .count(report.packs), "points": .count(report.points),
                "damaged_points": .array(report.damagedPoints.map { .id($0) }),
                "unreadable": .array(
                    report.unreadable.map { .object(["pack": .string($0.pack.hex), "reason": .string($0.reason)]) }),
                "findings": .strings(findings), "seconds": .number(report.seconds),
            ])
        try console.line(
            "The catalog is made anew from \(Units.count(report.packs, "pack")) with "
                + "\(Units.count(report.points, "point")) in "
                + "\(Units.span(nanoseconds: UInt64(max(report.seconds, 0) * 1e9))).")
        for pack in report.unreadable {
            console.warn("pack \(pack.pack.hex.prefix(12)): \(TreePath.display(pack.reason.utf8))")
        }
        for point in report.damagedPoints { console.warn("point \(point.hex.prefix(8)) names something that is lost") }
        for finding in findings { console.warn(TreePath.display(finding.utf8)) }
        return .done
    }
}
