package tokens

// Version of this module, as verifiers tell the issuer when they join.
const Version = "0.2.0"
