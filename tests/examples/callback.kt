/* The SDK's callback as the examples use it: see android.kt. */
package `in`.juspay.hypersdk.ui

import `in`.juspay.hypersdk.data.JuspayResponseHandler
import org.json.JSONObject

abstract class HyperPaymentsCallbackAdapter {
    abstract fun onEvent(event: JSONObject, handler: JuspayResponseHandler?)
}
