import ArgumentParser
import Client
import Model
import Policy

/// `holdfast policy check`
struct PolicyCheck: Command {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Say everything that is wrong in policy files.",
        usage: "holdfast policy check <file> ... [<options>]",
        discussion: """
            Each mistake is a line with file, line, column and what to write instead. Nothing is changed, and no server is asked.

            Exit status: 0 all files are good, 1 there are mistakes.

            Examples:
              holdfast policy check laptops.yaml
              holdfast policy check *.yaml --json
            """
    )

    @Argument(help: ArgumentHelp("Policies.", valueName: "file"))
    var files: [PathArgument]
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        var count = 0
        for file in files {
            let checked = PolicyFile(zones: SystemZones.source).check(try PolicyPlace.read(file.bytes))
            count += checked.problems.count
            for problem in checked.problems {
                try console.emit(
                    "policy_problem",
                    [
                        "file": .string(JSON.text(of: file.bytes)), "line": .count(problem.position.line),
                        "column": .count(problem.position.column), "message": .string(problem.message),
                        "instead": problem.instead.map { .string($0) } ?? .null,
                        "unsupported": .bool(problem.isUnsupported),
                    ])
                try console.line(problem.located(in: file.description))
            }
            if checked.problems.isEmpty {
                try console.emit(
                    "policy_checked",
                    ["file": .string(JSON.text(of: file.bytes)), "name": .string(checked.value?.name ?? "")])
                console.note("\(file): good.")
            }
        }
        return count == 0 ? .done : .failed
    }
}
