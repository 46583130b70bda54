// swift-tools-version: 6.2
import PackageDescription

// Modules from the bottom up. A module imports only modules below it; `ArchitectureTests` enforces it.
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let cryptoExtras: Target.Dependency = .product(name: "CryptoExtras", package: "swift-crypto")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let sqlite: Target.Dependency = .product(name: "GRDBSQLite", package: "GRDB.swift")
let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let hummingbird: [Target.Dependency] = [
    .product(name: "Hummingbird", package: "hummingbird"),
    .product(name: "HummingbirdHTTP2", package: "hummingbird"),
]
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
]
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let serviceLifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let certificates: [Target.Dependency] = [
    .product(name: "X509", package: "swift-certificates"),
    .product(name: "SwiftASN1", package: "swift-asn1"),
]
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
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-asn1", exact: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", exact: "1.21.1"),
        .package(url: "https://github.com/swift-server/async-http-client", exact: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),

        // Packages have it linked into the program: docs/decisions/0070-mounting.md.
        .target(
            name: "CFuse", cSettings: [.define("_GNU_SOURCE"), .define("_FILE_OFFSET_BITS", to: "64")],
            linkerSettings: [.linkedLibrary("fuse3")]),

        .target(name: "Platform", dependencies: ["CLinux"]),
        .target(name: "Model"),
        .target(name: "Policy", dependencies: ["Model", yams]),
        .target(
            name: "Vault",
            dependencies: ["Platform", "Model", "CZstd", "CXXHash", "CCrypto", crypto, cryptoExtras]
        ),
        .target(name: "Catalog", dependencies: ["Platform", "Model", "Vault", grdb, sqlite]),
        .target(name: "Capture", dependencies: ["Platform", "Model", "Vault"]),
        .target(name: "Recovery", dependencies: ["Platform", "Model", "Vault", "CZlib"]),
        .target(name: "Browsing", dependencies: ["Platform", "Model", "Vault", "Recovery"]),
        .target(name: "Mounting", dependencies: ["Platform", "Model", "Vault", "CFuse"]),
        .target(
            name: "Client",
            dependencies: ["Platform", "Model", "Policy", "Vault", crypto, asyncHTTPClient] + nio
        ),
        .target(
            name: "Server",
            dependencies: [
                "Platform", "Model", "Policy", "Vault", "Catalog", "Recovery", "Browsing", "Client", crypto,
                cryptoExtras, httpTypes, logging, serviceLifecycle, unixSignals,
            ] + nio + hummingbird + certificates
        ),
        .target(
            name: "Console",
            dependencies: [
                "Model", "Platform", "Policy", "Vault", "Catalog", "Recovery", "Browsing", "Client", "Server",
            ],
            resources: [
                .embedInCode("Assets/console.css"), .embedInCode("Assets/console.js"), .embedInCode("Assets/icon.svg"),
                .embedInCode("Assets/restores.js"), .embedInCode("Assets/files.js"),
            ]),
        .target(
            name: "Agent",
            dependencies: ["Platform", "Model", "Policy", "Vault", "Catalog", "Capture", "Recovery", "Client"]),
        .executableTarget(
            name: "holdfast",
            dependencies: [
                "Platform", "Model", "Policy", "Vault", "Catalog", "Capture", "Recovery", "Mounting", "Client", "Agent",
                "Server", "Console", argumentParser, logging,
            ],
            // As it ships it needs nothing of the system it runs on: docs/decisions/0050-one-static-program.md.
            linkerSettings: [.unsafeFlags(["-static-executable"], .when(configuration: .release))]
        ),

        .executableTarget(name: "Stages", dependencies: ["Vault", "Model"], path: "Benchmarks/Stages"),
        .executableTarget(
            name: "Commits", dependencies: ["Client", "Vault", "Model", "Platform"], path: "Benchmarks/Commits"),

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
        .testTarget(
            name: "MountingTests", dependencies: ["Mounting", "Catalog", "Vault", "Model", "Platform", "TestSupport"]),
        .testTarget(
            name: "ServerTests",
            dependencies: [
                "Server", "Client", "Browsing", "Catalog", "Vault", "Policy", "Model", "Platform", "TestSupport",
                logging,
            ] + nio,
            exclude: ["Golden"]
        ),
        .testTarget(
            name: "AgentTests",
            dependencies: [
                "Agent", "Capture", "Catalog", "Client", "Recovery", "Server", "Vault", "Policy", "Model", "Platform",
                "TestSupport", logging,
            ]
        ),
        .testTarget(
            name: "ConsoleTests",
            dependencies: [
                "Console", "Server", "Browsing", "Catalog", "Client", "Recovery", "Vault", "Platform", "Model",
                "TestSupport",
            ]
        ),
        .testTarget(
            name: "BrowsingTests", dependencies: ["Browsing", "Recovery", "Catalog", "Vault", "Model", "TestSupport"]),
        .testTarget(name: "CommandTests", dependencies: ["holdfast", "Model", "TestSupport"], exclude: ["Golden"]),
    ],
    swiftLanguageModes: [.v6]
)

let cTargets: Set<String> = ["CLinux", "CFuse", "CZstd", "CZlib", "CXXHash", "CCrypto"]
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
