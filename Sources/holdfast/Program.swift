import ArgumentParser
import Model
import Platform
import Synchronization

/// A command that does something, in contrast to one that only groups others.
protocol Command: ParsableCommand {
    var global: GlobalOptions { get }

    /// Does the work. Warnings that were counted by the console turn `done` into `warnings`.
    func execute(_ console: Console) throws -> ExitStatus
}

/// From arguments to an exit status, in one place.
enum Program {
    /// Runs the command line `arguments` (without the program's name) and returns the status to exit with.
    static func run(_ arguments: [String]) -> ExitStatus {
        if let word = arguments.first, let answer = OtherWords.answer(to: word) {
            return finish(Console(isJSON: arguments.contains("--json"), isQuiet: false), answer)
        }
        let command: any ParsableCommand
        do {
            command = try Holdfast.parseAsRoot(arguments)
        } catch {
            return answer(error, isJSON: arguments.contains("--json"))
        }
        guard let command = command as? any Command else { return runGroup(command) }
        let console = Console(isJSON: command.global.json, isQuiet: command.global.quiet)
        do {
            try Signals.install()
            var status = try command.execute(console)
            try console.flush()
            if status == .done, console.warnings > 0 { status = .warnings }
            return status
        } catch is OutputClosed {
            return .failed
        } catch let stop as Interrupted {
            return stop.status
        } catch {
            console.showTransient(nil)
            return finish(console, HoldfastError(wrapping: error))
        }
    }

    private static func finish(_ console: Console, _ error: HoldfastError) -> ExitStatus {
        do {
            try console.flush()
        } catch is OutputClosed {
            return .failed
        } catch {
            // The failure that came first is the one to report.
        }
        console.report(error)
        return error.code == .usage ? .usage : .failed
    }

    /// A group without a subcommand prints its help.
    private static func runGroup(_ command: any ParsableCommand) -> ExitStatus {
        var command = command
        do {
            try command.run()
            return .done
        } catch {
            return answer(error, isJSON: false)
        }
    }

    /// What the parser throws: help and version that were asked for, and command lines that make no sense.
    private static func answer(_ error: any Error, isJSON: Bool) -> ExitStatus {
        let console = Console(isJSON: isJSON, isQuiet: false)
        if let error = error as? HoldfastError { return finish(console, error) }
        if Holdfast.exitCode(for: error) == .success {
            do {
                try Array(Holdfast.fullMessage(for: error).utf8).withUnsafeBytes { try console.write($0) }
                try Array("\n".utf8).withUnsafeBytes { try console.write($0) }
                try console.flush()
                return .done
            } catch {
                return .failed
            }
        }
        let message = Holdfast.message(for: error)
        var context: [String: String] = [:]
        if let hint = usageHint(error) { context["hint"] = hint }
        let text = message.isEmpty ? "The command line makes no sense." : message
        return finish(console, HoldfastError(.usage, text, context: context))
    }

    /// Where to read more, from the parser's own words.
    private static func usageHint(_ error: any Error) -> String? {
        let full = Holdfast.fullMessage(for: error)
        guard let start = full.firstIndex(of: "\u{27}"), full.contains("See \u{27}") else { return nil }
        for part in full[start...].split(separator: "\u{27}")
        where part.hasPrefix("holdfast") && part.hasSuffix("--help") {
            return "`\(part)` shows what it takes, with examples."
        }
        return nil
    }
}

/// Somebody was asked something and stopped the program instead.
struct Interrupted: Error {
    let signal: Int32

    var status: ExitStatus { ExitStatus(rawValue: 128 + signal) ?? .failed }
}

extension HoldfastError {
    /// Any error as one that a person can be told.
    init(wrapping error: any Error) {
        switch error {
        case let error as HoldfastError: self = error
        case let error as Errno: self.init(.io, "The system refused: \(error).", cause: error)
        default: self.init(.internalError, "\(error)", cause: error)
        }
    }
}
