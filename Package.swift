// swift-tools-version: 6.2
import PackageDescription

// Modules from the bottom up. A module imports only modules below it; `ArchitectureTests` enforces it.
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let cryptoExtras: Target.Dependency = .product(name: "CryptoExtras", package: "swift-crypto")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let sqlite: Target.Dependency = .product(name: "GRDBSQLite", package: "GRDB.swift")
// For the libyaml in it, `CYaml`: its events know the place of every value, and bounds hold while a file is read.
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "holdfast",
    products: [
        .executable(name: "holdfast", targets: ["holdfast"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),

        .target(name: "Platform", dependencies: ["CLinux"]),
        .target(name: "Model"),
        .target(name: "Policy", dependencies: ["Model", yams]),
        .target(
            name: "Vault",
            dependencies: ["Platform", "Model", "CZstd", "CXXHash", "CCrypto", crypto, cryptoExtras]
        ),
        .target(name: "Catalog", dependencies: ["Platform", "Model", "Vault", grdb, sqlite]),
        .target(name: "Capture", dependencies: ["Platform", "Model", "Vault"]),
        .target(name: "Recovery", dependencies: ["Platform", "Model", "Vault"]),
        .executableTarget(
            name: "holdfast",
            dependencies: ["Platform", "Model", "Vault", "Catalog", "Capture", "Recovery", argumentParser]
        ),

        .executableTarget(name: "Stages", dependencies: ["Vault", "Model"], path: "Benchmarks/Stages"),

        .target(
            name: "TestSupport",
            dependencies: ["Platform", "Model", "Vault", "Catalog", grdb],
            path: "Tests/TestSupport"
        ),
        .testTarget(name: "ArchitectureTests"),
        .testTarget(name: "PlatformTests", dependencies: ["Platform", "TestSupport"]),
        .testTarget(name: "ModelTests", dependencies: ["Model", "TestSupport"], exclude: ["Golden"]),
        .testTarget(
            name: "PolicyTests", dependencies: ["Policy", "Model", "Capture", "TestSupport"], exclude: ["Golden"]),
        .testTarget(name: "VaultTests", dependencies: ["Vault", "TestSupport"], resources: [.copy("Golden")]),
        .testTarget(name: "CatalogTests", dependencies: ["Catalog", "Platform", "TestSupport"]),
        .testTarget(name: "CaptureTests", dependencies: ["Capture", "TestSupport"]),
        .testTarget(name: "RecoveryTests", dependencies: ["Recovery", "Capture", "TestSupport"]),
        .testTarget(name: "CommandTests", dependencies: ["holdfast", "Model", "TestSupport"], exclude: ["Golden"]),
    ],
    swiftLanguageModes: [.v6]
)

let cTargets: Set<String> = ["CLinux", "CZstd", "CXXHash", "CCrypto"]
for target in package.targets where !cTargets.contains(target.name) {
    var settings = target.swiftSettings ?? []
    settings += [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .treatAllWarnings(as: .error),
    ]
    target.swiftSettings = settings
}
