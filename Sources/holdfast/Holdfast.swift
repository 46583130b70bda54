import ArgumentParser
import Model
import Platform
import Synchronization

/// The command line. One file for each command lies in `Commands`.
struct Holdfast: ParsableCommand {
    static let version = ProgramVersion.current

    static let configuration = CommandConfiguration(
        commandName: "holdfast",
        abstract: "Protects machines and brings them back.",
        discussion: """
            A vault is an encrypted store in a directory, on a disk or on a USB drive. A point is the state of a machine at one \
            instant; every point can be restored on its own.

            The two commands to know:
              holdfast backup /etc /home --vault /mnt/disk/vault
              holdfast restore latest /etc/fstab --to /tmp/restored --vault /mnt/disk/vault

            Begin with `holdfast vault init`. Set HOLDFAST_VAULT and leave --vault out.

            Exit status: 0 done, 1 failed, 2 the command line makes no sense, 3 done with warnings.
            """,
        version: version,
        groupedSubcommands: CommandList.groups,
        helpNames: [.short, .long]
    )
}

@main
struct Main {
    /// Recursion over deep trees has room; the address space is only reserved.
    private static let stack = 256 << 20

    static func main() {
        ProcessLimits.boundMemory()
        Accounts.confineNames()
        let arguments = System.arguments.dropFirst().map(ArgumentBytes.encode)
        let status = Mutex(ExitStatus.failed)
        do {
            let thread = try WorkerThread(name: "holdfast", stack: stack) {
                let result = Program.run(arguments)
                status.withLock { $0 = result }
            }
            thread.join()
        } catch {
            status.withLock { $0 = Program.run(arguments) }
        }
        System.exit(status.withLock { $0 })
    }
}
