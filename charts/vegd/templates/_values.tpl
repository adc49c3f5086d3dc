{{- /* Each of these changes .object in place, as the values of .root want it, and is empty. */ -}}

{{- define "vegd.place" -}}
{{- $clusterWide := list "ClusterRole" "ClusterRoleBinding" "CustomResourceDefinition" -}}
{{- if not (has .object.kind $clusterWide) -}}
  {{- $_ := set .object.metadata "namespace" .root.Release.Namespace -}}
{{- end -}}
{{- $namespace := .root.Release.Namespace -}}
{{- range .object.subjects -}}
  {{- $_ := set . "namespace" $namespace -}}
{{- end -}}
{{- end -}}

{{- define "vegd.Deployment" -}}
{{- $values := .root.Values -}}
{{- $pod := .object.spec.template.spec -}}
{{- $container := first $pod.containers -}}
{{- if not (kindIs "invalid" $values.replicas) -}}
  {{- $_ := set .object.spec "replicas" $values.replicas -}}
{{- end -}}
{{- range $name := list "image" "resources" -}}
  {{- with get $values $name }}{{ $_ := set $container $name . }}{{ end -}}
{{- end -}}
{{- range $name := list "tolerations" "nodeSelector" "priorityClassName" "imagePullSecrets" -}}
  {{- with get $values $name }}{{ $_ := set $pod $name . }}{{ end -}}
{{- end -}}
{{- $environment := dict "OVN_NB_DB" $values.ovnNorthbound "VEGD_IMAGE" $values.gatewayImage -}}
{{- range $variable := $container.env -}}
  {{- with get $environment $variable.name }}{{ $_ := set $variable "value" . }}{{ end -}}
{{- end -}}
{{- $options := $values.options -}}
{{- if ne $values.apiGroup "kubeovn.io" -}}
  {{- $options = prepend $options (printf "--api-group=%s" $values.apiGroup) -}}
{{- end -}}
{{- $_ := set $container "args" (concat $container.args $options) -}}
{{- end -}}

{{- /* VPCs, subnets and pools are Kube-OVN's whatever the group of the gateways. */ -}}
{{- define "vegd.ClusterRole" -}}
{{- $group := .root.Values.apiGroup -}}
{{- $rules := list -}}
{{- range $rule := .object.rules -}}
  {{- $theirs := list -}}
  {{- $ours := list -}}
  {{- range $rule.resources -}}
    {{- if and (has "kubeovn.io" $rule.apiGroups) (ne $group "kubeovn.io") (hasPrefix "vpc-egress-gateways" .) -}}
      {{- $ours = append $ours . -}}
    {{- else -}}
      {{- $theirs = append $theirs . -}}
    {{- end -}}
  {{- end -}}
  {{- if $theirs -}}
    {{- $rules = append $rules (merge (dict "resources" $theirs) $rule) -}}
  {{- end -}}
  {{- if $ours -}}
    {{- $rules = append $rules (merge (dict "apiGroups" (list $group) "resources" $ours) $rule) -}}
  {{- end -}}
{{- end -}}
{{- $_ := set .object "rules" $rules -}}
{{- end -}}

{{- /* In another group with another short name, as "kubectl get veg" keeps its meaning. */ -}}
{{- define "vegd.CustomResourceDefinition" -}}
{{- $_ := set .object.metadata "annotations" (dict "helm.sh/resource-policy" "keep") -}}
{{- $group := .root.Values.apiGroup -}}
{{- if ne $group "kubeovn.io" -}}
  {{- $_ := set .object.metadata "name" (printf "%s.%s" .object.spec.names.plural $group) -}}
  {{- $_ := set .object.spec "group" $group -}}
  {{- $_ := set .object.spec.names "shortNames" (list "vegd") -}}
{{- end -}}
{{- end -}}

{{- define "vegd.PodMonitor" -}}
{{- $_ := set .object.metadata "labels" (merge dict .root.Values.monitoring.labels .object.metadata.labels) -}}
{{- end -}}
{{- define "vegd.PrometheusRule" -}}
{{- include "vegd.PodMonitor" . -}}
{{- end -}}
