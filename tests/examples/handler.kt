/* The SDK's second argument of events: see android.kt. */
package `in`.juspay.hypersdk.data

class JuspayResponseHandler
