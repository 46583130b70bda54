import ArgumentParser
import Model
import Vault

/// `holdfast versions`
struct Versions: Command {
    static let configuration = CommandConfiguration(
        commandName: "versions",
        abstract: "The versions of a file that can be brought back.",
        usage: "holdfast versions <path> [<options>]",
        discussion: """
            One line for each point at which the path was not as at the point before: when, what changed, and how long it was. \
            With that time or point it is brought back:

              holdfast restore notes.txt@10:15 --to /tmp/restored
              holdfast restore 3fa9 notes.txt --to /tmp/restored

            Without a vault the agent of this machine is asked for what it keeps itself, of the last days: no network, no \
            passphrase and no root needed for files that you could read then.

            Examples:
              holdfast versions notes.txt
              holdfast versions /etc/fstab --machine mail
            """
    )

    @Argument(help: ArgumentHelp("The file or directory; of a directory its own entry only.", valueName: "path"))
    var path: PathArgument
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let wanted = try path.treePath()
        if !location.isNamed, machine.machine == nil { return try LocalAgent(global).show(wanted, console) }
        let session = try VaultSession(console, location, global)
        let id = try session.machine(machine.machine, global)
        let keys = try session.opener(passphrase)
        let points = try session.vault.points(PointQuery(machine: id))
        let history = VersionHistory(
            path: wanted, records: try PointRecords(of: id, service: session.vault, keys: keys))
        var table = Table(("time", .left), ("what changed", .left), ("size", .right), ("point", .left))
        var count = 0
        for point in points where point.isForRestores {
            let version: VersionHistory.Version?
            do { version = try history.next(point) } catch {
                console.warn(
                    "Point \(point.shortID) cannot be read: \(HoldfastError(wrapping: error).message)",
                    fields: ["point": .id(point.id)])
                continue
            }
            guard let version else { continue }
            count += 1
            var fields: [String: JSON] = [
                "point": .id(point.id), "time": .time(point.effective), "change": .string(version.change.rawValue),
                "size": .count(version.entry?.size ?? 0),
            ]
            fields.setPath("path", wanted)
            if let entry = version.entry {
                fields["mtime"] = .time(
                    Timestamp(seconds: entry.mtime.seconds, nanoseconds: Int64(entry.mtime.nanoseconds)))
            }
            try console.emit("version", fields)
            table.add(
                TimeText.local(point.effective, in: console.zone), version.change.rawValue,
                version.entry.map { Units.size($0.size) } ?? "", point.shortID)
        }
        if count == 0 {
            throw HoldfastError(
                .notFound, "\(wanted.displayText) is in no point of \(session.machineName(id)).",
                context: ["path": wanted.displayText])
        }
        if console.isJSON { return .done }
        try console.line("\(wanted.displayText) (times in \(console.zone.identifier))")
        try console.table(table)
        return .done
    }
}
