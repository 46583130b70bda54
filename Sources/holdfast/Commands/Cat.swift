import ArgumentParser
import Model
import Platform
import Vault

/// `holdfast cat`
struct Cat: Command {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Print the content of a file as it was.",
        usage: "holdfast cat <point> <path> ... [<options>]",
        discussion: """
            \(PointHelp.text)

            Examples:
              holdfast cat latest /etc/fstab
              holdfast cat @yesterday /home/ann/thesis.odt > thesis-of-yesterday.odt
            """
    )

    @Argument(help: ArgumentHelp("Which point.", valueName: "point"))
    var point: String
    @Argument(help: ArgumentHelp("The files, one after the other.", valueName: "path"))
    var paths: [PathArgument]
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if global.json {
            throw ValidationError("The content of a file is no JSON; `holdfast ls --json` describes files.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let wanted = try paths.map { try $0.treePath() }
        let chosen = try session.point(
            point, machine: machine.machine, global, covering: wanted, keys: { try session.opener(passphrase) })
        let reader = try session.open(chosen, try session.opener(passphrase), trust)
        defer { reader.close() }
        var resolved: [PointReader.Resolved] = []
        for path in wanted {
            let found = try reader.resolve(path.bytes)
            guard found.entry.kind == .regular else {
                let link = found.entry.kind == .symbolicLink ? " to \(TreePath.display(found.entry.target))" : ""
                throw HoldfastError(
                    .usage, "\(found.path.displayText) is no file but a \(found.entry.kind.title)\(link).",
                    context: found.entry.kind == .directory
                        ? ["hint": "`holdfast ls \(point) \(found.path.displayText)` lists it."] : [:])
            }
            resolved.append(found)
        }
        for file in resolved {
            if file.entry.remarks.contains(.contentMissing) {
                console.warn("The content of \(file.path.displayText) could not be read when the point was made.")
            } else if file.entry.remarks.contains(.fuzzy) {
                console.warn("\(file.path.displayText) changed while it was read.")
            }
            try reader.read(file.entry) { bytes in
                try Stop.check()
                try console.write(bytes)
                return true
            }
        }
        return .done
    }
}
