import ArgumentParser

/// Commands about the vault itself.
struct VaultGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vault",
        abstract: "Make, join, check and clean a vault.",
        discussion: """
            A vault is one directory: on a disk, on a USB drive, on a network mount. Everything needed to restore is in it; it \
            can be moved and copied like any directory while nobody writes to it.
            """,
        subcommands: [
            VaultInit.self, VaultJoin.self, VaultReclaim.self, VaultVerify.self, VaultStats.self, VaultRebuild.self,
            VaultKeysGroup.self,
        ]
    )
}
